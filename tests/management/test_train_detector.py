from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import Checkpoint, load, untrained_head
from detection.d3.training.strategies import VARIANTS
from tests.support.checkpoints import LEARNER, STRIPES, saved, untrained
from tests.support.published_layouts import CLIP, openai_archive, read

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]


def striped_pictures(root: Path, *, split: str, pairs: int) -> None:
    """Write pictures of noise, and the same with a pattern of period 4, as up-samplers leave it."""
    for number in range(pairs):
        random = np.random.default_rng([number, len(split)])
        real = random.normal(128, 25, (64, 64, 3))
        fake = real + 40 * np.cos(np.pi / 2 * np.arange(64))[:, None, None]
        for name, pixels in (("0_real", real), ("1_fake", fake)):
            folder = root / split / "stripes" / name
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / f"{number}.png")


@pytest.fixture
def dataset(tmp_path) -> Path:
    root = tmp_path / "dataset"
    striped_pictures(root, split="train", pairs=16)
    striped_pictures(root, split="val", pairs=8)
    return root


@pytest.fixture
def small_start(tmp_path) -> Path:
    """A tiny tower for 64-pixel crops, untrained."""
    return saved(untrained(LEARNER, crops=STRIPES), tmp_path / "start.safetensors")


@pytest.fixture(autouse=True)
def work_folder(tmp_path, monkeypatch) -> Path:
    """Run folders are written below the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(dataset: Path, start: Path, *, epochs: int, **options) -> Path:
    output = dataset.parent / "trained.safetensors"
    call_command(
        "train_detector",
        str(dataset),
        output=output,
        init_from=start,
        epochs=epochs,
        batch_size=8,
        learning_rate=0.01,
        device="cpu",
        **options,
    )
    return output


def test_a_small_tower_learns_to_see_an_up_samplers_pattern(dataset, small_start, work_folder):
    output = train(dataset, small_start, epochs=10)
    checkpoint = load(output)
    assert checkpoint.name == "trained"
    assert checkpoint.metrics["val"]["auc"] > 0.9
    assert checkpoint.training["train_pictures"] == 32
    assert checkpoint.training["started_from"]["version"] == load(small_start).version
    run = work_folder / "runs" / "trained"
    names = {path.name for path in run.iterdir()}
    assert names >= {"metrics.csv", "curves.png", "command.txt", "state.pt"}
    real, fake = (
        Detector.from_checkpoint(output).logits(
            sorted((dataset / "train" / "stripes" / n).iterdir())
        )
        for n in ("0_real", "1_fake")
    )
    assert np.median(fake) > np.median(real)


def test_unreadable_pictures_are_listed_and_skipped(dataset, small_start, work_folder, capsys):
    broken = dataset / "train" / "stripes" / "1_fake" / "3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    checkpoint = load(train(dataset, small_start, epochs=1))
    assert checkpoint.training["train_pictures"] == 31
    assert str(broken) in (work_folder / "runs" / "trained" / "unreadable.txt").read_text()
    assert str(broken) in capsys.readouterr().err


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(dataset, small_start):
    whole = load(train(dataset, small_start, epochs=2)).version
    train(dataset, small_start, epochs=1)
    resumed = load(train(dataset, small_start, epochs=2, resume=True)).version
    assert resumed == whole


def test_a_set_without_fakes_is_refused(dataset, small_start):
    for path in (dataset / "val" / "stripes" / "1_fake").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match="val split needs readable pictures of both"):
        train(dataset, small_start, epochs=1)


def test_the_pictures_of_the_last_set_are_repeated(dataset, small_start, tmp_path):
    few = tmp_path / "few" / "train" / "reviews" / "1_fake"
    few.mkdir(parents=True)
    for path in sorted((dataset / "train" / "stripes" / "1_fake").iterdir())[:3]:
        (few / path.name).write_bytes(path.read_bytes())

    call_command(
        "train_detector",
        str(dataset),
        str(tmp_path / "few"),
        repeat_last=4,
        output=tmp_path / "trained.safetensors",
        init_from=small_start,
        epochs=1,
        device="cpu",
    )

    training = load(tmp_path / "trained.safetensors").training
    assert training["datasets"] == ["dataset", "few ×4"]
    assert training["train_pictures"] == 32 + 4 * 3
    assert training["val_pictures"] == 16


def test_a_set_given_twice_counts_once_in_validation(dataset, small_start):
    training = load(train(dataset, small_start, epochs=1, repeat_last=2)).training

    assert training["datasets"] == ["dataset ×2"]
    assert training["train_pictures"] == 64
    assert training["val_pictures"] == 16


def test_a_missing_set_is_named_in_the_error(tmp_path, small_start):
    with pytest.raises(CommandError, match="nowhere is not a data set"):
        train(tmp_path / "nowhere", small_start, epochs=1)


def test_a_missing_second_set_is_named_in_the_error(dataset, small_start):
    with pytest.raises(CommandError, match="typo is not a data set"):
        call_command(
            "train_detector", str(dataset), "typo", output=Path("x"), init_from=small_start
        )


def test_the_large_architecture_needs_clip_weights(dataset, tmp_path):
    with pytest.raises(CommandError, match="needs --clip-weights"):
        call_command("train_detector", str(dataset), output=tmp_path / "x", architecture="vit-l-14")


def test_without_its_tower_the_error_names_fetch_clip(dataset, tmp_path, settings):
    settings.CLIP_CACHE = tmp_path / "clip"
    with pytest.raises(CommandError, match=r"clip-vit-b-16\.safetensors; manage\.py fetch_clip"):
        call_command("train_detector", str(dataset), output=tmp_path / "x", architecture="vit-b-16")


@pytest.fixture
def few(tmp_path) -> Path:
    striped_pictures(tmp_path / "few", split="train", pairs=4)
    striped_pictures(tmp_path / "few", split="val", pairs=2)
    return tmp_path / "few"


def train_clip(dataset: Path, name: str, **options) -> Checkpoint:
    output = dataset.parent / f"{name}.safetensors"
    clip = {"architecture": "vit-l-14", "clip_weights": str(CLIP)}
    call_command("train_detector", str(dataset), output=output, device="cpu", **clip, **options)
    return load(output)


def test_a_frozen_tower_keeps_its_weights_and_its_features_are_computed_once(few, work_folder):
    short = train_clip(few, "short", epochs=1)
    files = {path: path.stat().st_mtime_ns for path in work_folder.glob("runs/features/*/*.npy")}
    assert len(files) == 12
    assert {np.load(path).shape[0] for path in files} == {1, VARIANTS}
    long = train_clip(few, "long", epochs=3)
    assert files == {path: path.stat().st_mtime_ns for path in files}

    untrained = untrained_head(CLIP, architecture="vit-l-14", seed=0)
    for checkpoint in (short, long):
        same = {n for n, t in checkpoint.weights.items() if torch.equal(t, untrained.weights[n])}
        assert same == {name for name in checkpoint.weights if name.startswith("tower.")}


def test_adapters_change_a_tower_a_little_and_a_resumed_run_gives_the_same_ones(few, monkeypatch):
    monkeypatch.setattr("detection.d3.training.strategies.EPOCH_PICTURES", 16)
    options = {"adapters": 2, "batch_size": 4, "learning_rate": 0.01}

    whole = train_clip(few, "whole", epochs=2, **options)
    train_clip(few, "parts", epochs=1, **options)
    parts = train_clip(few, "parts", epochs=2, resume=True, **options)
    assert parts.version == whole.version
    assert torch.equal(parts.kept.train.views, whole.kept.train.views)
    assert whole.kept.train.labels.tolist() == 4 * [0] + 4 * [1]
    assert whole.kept.val.labels.tolist() == 2 * [0] + 2 * [1]

    before = untrained_head(CLIP, architecture="vit-l-14", seed=0).weights
    changes = {
        name: whole.weights[name] - tensor
        for name, tensor in before.items()
        if name.startswith("tower.") and not torch.equal(whole.weights[name], tensor)
    }
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changes} == {
        *("attn", "out_proj", "c_fc", "c_proj")
    }
    ranks = {
        torch.linalg.matrix_rank(c, rtol=1e-3).item() for n, c in changes.items() if "mlp" in n
    }
    assert ranks == {2}


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "0"), ("--batch-size", "-1"), ("--learning-rate", "nan")]
)
def test_invalid_numbers_are_refused(dataset, option, value):
    with pytest.raises(CommandError, match=option):
        call_command("train_detector", str(dataset), "--output=x.safetensors", option, value)


def test_options_that_contradict_each_other_are_refused(dataset, small_start):
    with pytest.raises(CommandError, match="leave --architecture out"):
        train(dataset, small_start, epochs=1, architecture="tiny")
    with pytest.raises(CommandError, match="--clip-weights are for"):
        call_command("train_detector", str(dataset), output=Path("x"), clip_weights="openai")


def test_a_foreign_torchscript_archive_needs_trust(dataset, tmp_path):
    archive = openai_archive(read(CLIP), tmp_path / "clip.pt")
    options = {"output": Path("x"), "architecture": "vit-l-14", "clip_weights": str(archive)}
    with pytest.raises(CommandError, match="--trust-torchscript"):
        call_command("train_detector", str(dataset), **options)
