"""A checkpoint with stored features is trained further on new pictures alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import Features, KeptFeatures, load, save
from tests.support.checkpoints import a_clip, saved, untrained

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

ARCHITECTURE = a_clip(patch_size=8)
WIDTH = ARCHITECTURE.tower.features


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch) -> Path:
    """Run folders are written below the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(pictures: int) -> Features:
    """Return features in two overlapping clouds, one real and one fake."""
    labels = torch.arange(pictures) % 2
    views = torch.randn(pictures, 2, WIDTH) + labels[:, None, None]
    return Features(views.half(), torch.arange(pictures), labels, torch.zeros_like(labels))


@pytest.fixture
def start(work_folder) -> Path:
    checkpoint = untrained(ARCHITECTURE, crops={"max_crops": 3})
    checkpoint = replace(checkpoint, kept=KeptFeatures(train=kept(200), val=kept(100)))
    return saved(checkpoint, work_folder / "start.safetensors")


def pictures(folder: Path, count: int, *, grey: int) -> Path:
    """Store pictures of noise around a grey level, of one crop and of two in turn."""
    folder.mkdir(parents=True)
    random = np.random.default_rng([grey, count])
    for number in range(count):
        pixels = random.normal(grey, 10, (64 * (1 + number % 2), 64, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def tune(*datasets: str, start: Path, **options) -> Path:
    output = Path("tuned.safetensors")
    options = {"epochs": 8, "learning_rate": 0.003, "device": "cpu"} | options
    call_command("train_detector", *datasets, init_from=start, output=output, **options)
    return output


def logits(checkpoint: Path, paths: list[Path]) -> np.ndarray:
    return Detector.from_checkpoint(checkpoint, device="cpu").logits(paths)


def test_only_the_head_changes(start):
    pictures(Path("new/train/1_fake"), 6, grey=60)

    tuned, before = load(tune("new", start=start)), load(start)

    changed = {n for n, t in tuned.weights.items() if not torch.equal(t, before.weights[n])}
    assert changed == {name for name in tuned.weights if name.startswith("attention_head.")}
    assert tuned.version != before.version
    assert torch.equal(tuned.kept.val.views, before.kept.val.views)
    assert tuned.training["train_pictures"] == 6
    assert tuned.training["val_pictures"] == 100


@pytest.mark.parametrize(("label", "name"), [(0, "0_real"), (1, "1_fake")])
def test_logits_of_pictures_of_one_class_move_towards_their_label(start, label, name):
    paths = sorted(pictures(Path("new/train") / name, 10, grey=60).iterdir())
    moved = logits(tune("new", start=start), paths) - logits(start, paths)
    assert (moved * (1 if label else -1) > 0).mean() > 0.9


def test_pictures_for_validation_calibrate_too(start):
    pictures(Path("new/train/1_fake"), 4, grey=60)
    pictures(Path("new/val/0_real"), 3, grey=200)
    tuned = load(tune("new", start=start))
    assert tuned.training["val_pictures"] == tuned.metrics["val"]["pictures"] == 103


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(start):
    pictures(Path("new/train/1_fake"), 4, grey=60)
    whole = load(tune("new", start=start, epochs=3)).version
    tune("new", start=start, epochs=1)
    assert load(tune("new", start=start, epochs=3, resume=True)).version == whole


def test_a_few_pictures_of_one_class_count_as_much_as_many_of_the_other(start):
    few = sorted(pictures(Path("new/train/1_fake"), 3, grey=60).iterdir())
    pictures(Path("new/train/0_real"), 60, grey=200)
    assert (logits(tune("new", start=start), few) > logits(start, few)).all()


def test_without_a_readable_picture_the_command_says_so(start):
    broken = pictures(Path("new/train/1_fake"), 1, grey=60) / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(CommandError, match="train split needs readable pictures of 0_real or 1_f"):
        tune("new", start=start)


def test_adapters_are_trained_on_pictures_of_both_classes(start, monkeypatch):
    monkeypatch.setattr("detection.d3.training.strategies.EPOCH_PICTURES", 16)
    pictures(Path("new/train/1_fake"), 4, grey=60)
    with pytest.raises(CommandError, match="train split needs readable pictures of both 0_real"):
        tune("new", start=start, adapters=2)
    pictures(Path("new/train/0_real"), 4, grey=200)
    for name in ("0_real", "1_fake"):
        pictures(Path("new/val") / name, 2, grey=100)
    tuned = load(tune("new", start=start, adapters=2, epochs=1, batch_size=4))
    assert len(tuned.kept.train.labels) == 8
    name = "tower.transformer.resblocks.0.mlp.c_fc.weight"
    assert not torch.equal(tuned.weights[name], load(start).weights[name])


def test_without_stored_features_there_must_be_both_classes(start):
    save(replace(load(start), kept=None), start)
    pictures(Path("new/train/1_fake"), 4, grey=60)
    with pytest.raises(CommandError, match="train split needs readable pictures of both 0_real"):
        tune("new", start=start)
