"""Features cached on disk give the logits of a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import Checkpoint, Features
from detection.d3.dataset import Sample
from detection.d3.training.features import (
    cached_features,
    feature_batches,
    head_logits,
    read_features,
)
from tests.support.checkpoints import a_clip, untrained

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

CPU = torch.device("cpu")
SIZES = ((64, 64), (200, 64), (150, 150), (40, 90), (64, 128))


@pytest.fixture
def checkpoint() -> Checkpoint:
    return untrained(a_clip(), crops={"max_crops": 3}, permutation_seed=3)


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Noise of several sizes, of one crop to three."""
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(len(SIZES))]
    for path, (width, height) in zip(paths, SIZES, strict=True):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return [Sample(path, "noise", number % 2) for number, path in enumerate(paths)]


def test_crops_give_the_logits_of_a_detector(checkpoint, samples, tmp_path):
    features = cached_features(checkpoint, samples, folder=tmp_path, device=CPU)
    assert torch.bincount(features.pictures).tolist() == [1, 3, 2, 2, 2]

    logits = head_logits(checkpoint, read_features(checkpoint, features))

    paths = [sample.path for sample in samples]
    exact = Detector(checkpoint, device=CPU, precision="fp32").logits(paths)
    assert np.abs(logits - exact).max() < 0.05 * np.ptp(exact)


def test_computed_features_are_read_from_the_cache(checkpoint, samples, tmp_path):
    options = {"folder": tmp_path / "cache", "device": CPU, "variants": 2}
    first = cached_features(checkpoint, samples[:3], **options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/*/*.npy")}
    assert len(times) == 3

    both = cached_features(checkpoint, samples, **options)

    assert times.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.glob("cache/*/*")}.items()
    assert torch.equal(both.views[:6], first.views)
    assert not torch.equal(first.views[0], first.views[1])  # two variants of one picture


def test_an_epoch_has_one_row_of_each_picture():
    views = torch.arange(6).half()[:, None, None].expand(6, 2, 1)
    pictures = torch.tensor([0, 1, 1, 1, 2, 2])
    features = Features(views, pictures, torch.tensor([0, 1, 0]), torch.zeros(3, dtype=torch.long))

    def epoch(seed: int) -> list[int]:
        batches = feature_batches(features, 2, seed=seed)
        return [int(row) for (shuffled, _), _ in batches for row in shuffled]

    epochs = [epoch(seed) for seed in range(20)]
    assert all(sorted(pictures[rows]) == [0, 1, 2] for rows in epochs)
    assert {row for rows in epochs for row in rows} == set(range(6))
    assert epoch(0) == epoch(0)
    labels = torch.cat([labels for _, labels in feature_batches(features, 4)])
    assert labels.tolist() == [0, 1, 1, 1, 0, 0]


def test_each_tower_has_cached_files_of_its_own(checkpoint, samples, tmp_path):
    cached_features(checkpoint, samples[:1], folder=tmp_path / "cache", device=CPU)
    checkpoint.weights["tower.ln_pre.weight"].mul_(2)
    cached_features(checkpoint, samples[:1], folder=tmp_path / "cache", device=CPU)
    assert len(list(Path(tmp_path / "cache").iterdir())) == 2
