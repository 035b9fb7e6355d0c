"""Features stored in a checkpoint are in its file, and do not change its version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detection.d3.checkpoints import Checkpoint, Features, KeptFeatures, build_network, load, save
from detection.d3.errors import CheckpointError
from detection.d3.network import D3Network
from tests.support.checkpoints import a_clip, tower_apart, untrained

pytestmark = pytest.mark.stateless

ARCHITECTURE = a_clip(reads=(0,))


def features(rows: list[int]) -> Features:
    """Return the features of one picture for each number of rows."""
    pictures = torch.arange(len(rows))
    return Features(
        views=torch.randn(sum(rows), 2, 24).half(),
        pictures=pictures.repeat_interleave(torch.tensor(rows)),
        labels=pictures % 2,
        sources=pictures // 2,
    )


@pytest.fixture
def kept() -> KeptFeatures:
    torch.manual_seed(0)
    return KeptFeatures(train=features([1] * 6), val=features([1, 3, 2]))


@pytest.fixture
def checkpoint(kept, tmp_path) -> Checkpoint:
    """A checkpoint whose tower is in a file of its own."""
    checkpoint = untrained(ARCHITECTURE, kept=kept)
    return replace(checkpoint, tower_file=tower_apart(build_network(checkpoint), tmp_path))


def saved(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    save(checkpoint, folder / "saved.safetensors")
    return load(folder / "saved.safetensors", clip_cache=folder)


def test_stored_features_are_loaded_to_the_bit(checkpoint, kept, tmp_path):
    loaded = saved(checkpoint, tmp_path).kept.tensors()
    assert loaded.keys() == kept.tensors().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in kept.tensors().items())


def test_a_checkpoint_that_contains_its_tower_stores_features_too(checkpoint, kept, tmp_path):
    loaded = saved(replace(checkpoint, tower_file=None), tmp_path)
    assert torch.equal(loaded.kept.val.views, kept.val.views)


def test_stored_features_do_not_change_the_version(checkpoint, tmp_path):
    without = replace(checkpoint, kept=None)
    assert without.version == checkpoint.version == saved(checkpoint, tmp_path).version
    assert saved(without, tmp_path).kept is None


def test_stored_features_are_dropped_with_another_tower(checkpoint, tmp_path):
    save(checkpoint, tmp_path / "saved.safetensors")
    other = D3Network(ARCHITECTURE).tower.state_dict()
    save_file(other, tmp_path / "other.safetensors")
    loaded = load(tmp_path / "saved.safetensors", clip_weights=tmp_path / "other.safetensors")
    assert loaded.kept is None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("views", lambda views: views[:, :, :-1]),
        ("views", lambda views: views.float()),
        ("views", lambda views: views * torch.inf),
        ("views", lambda views: views[:-1]),
        ("pictures", lambda pictures: pictures.flip(0)),
        ("pictures", lambda pictures: pictures.int()),
        ("labels", lambda labels: labels + 1),
        ("labels", lambda labels: labels * 0),
        ("sources", lambda sources: sources[:-1]),
    ],
)
def test_damaged_features_are_refused(checkpoint, kept, tmp_path, name, damage):
    val = replace(kept.val, **{name: damage(getattr(kept.val, name))})
    with pytest.raises(CheckpointError, match=r"stored features in .* are not valid"):
        saved(replace(checkpoint, kept=replace(kept, val=val)), tmp_path)


def test_a_picture_counts_as_much_with_many_rows_as_with_one(kept):
    logits = torch.tensor([1.0, 1.0, 2.0, 6.0, -1.0, -3.0])
    assert kept.val.of_pictures(logits).tolist() == [1, 3, -2]
