from __future__ import annotations

import pytest

from detection.d3.dataset import scan_dataset
from detection.d3.errors import DatasetError
from tests.support.image_sets import labelled_images

pytestmark = pytest.mark.stateless


def test_sources_and_classes_are_read_from_the_folders(tmp_path):
    labelled_images(tmp_path, split="train", sources=("gan", "diffusion"), images=2)
    samples = scan_dataset(tmp_path, "train")
    assert [(s.source, s.label) for s in samples] == [
        *[("diffusion", 0)] * 2, *[("diffusion", 1)] * 2, *[("gan", 0)] * 2, *[("gan", 1)] * 2,
    ]  # fmt: skip


def test_the_source_level_may_be_missing(tmp_path):
    labelled_images(tmp_path, split="val", images=1)
    assert {s.source for s in scan_dataset(tmp_path, "val")} == {""}


def test_a_fake_and_the_real_picture_of_its_name_are_a_pair(tmp_path):
    labelled_images(tmp_path, split="train", sources=("gan",), images=1)
    real, fake = scan_dataset(tmp_path, "train")
    assert real.pair == fake.pair == f"{tmp_path.name}/gan/0"


def test_hidden_files_are_no_pictures(tmp_path):
    labelled_images(tmp_path, split="train", images=1)
    (tmp_path / "train" / "0_real" / ".DS_Store").write_bytes(b"x")
    assert len(scan_dataset(tmp_path, "train")) == 2


def test_a_missing_split_is_named(tmp_path):
    with pytest.raises(DatasetError, match="'val'"):
        scan_dataset(tmp_path, "val")


def test_a_split_without_pictures_is_refused(tmp_path):
    (tmp_path / "train" / "0_real").mkdir(parents=True)
    with pytest.raises(DatasetError, match="holds no pictures"):
        scan_dataset(tmp_path, "train")
