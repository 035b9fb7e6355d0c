"""The checkpoints that ship with the project: the default, and the one for small machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.d3 import Detector
from detection.d3.checkpoints import describe

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "checkpoints"
SAMPLES = ROOT / "samples"
PHOTOGRAPHS = sorted(SAMPLES.glob("photo-*.jpg"))


@pytest.fixture(scope="module")
def clip(tower_path) -> Detector:
    checkpoint = CHECKPOINTS / "d3-clip-b-16.safetensors"
    return Detector.from_checkpoint(checkpoint, clip_weights=tower_path, device="cpu")


@pytest.fixture(scope="module")
def tiny() -> Detector:
    return Detector.from_checkpoint(CHECKPOINTS / "d3-tiny.safetensors", device="cpu")


@pytest.mark.parametrize("name", ["d3-clip-b-16", "d3-tiny"])
def test_a_checkpoint_is_small_and_its_card_is_about_it(name):
    path = CHECKPOINTS / f"{name}.safetensors"
    described, card = describe(path), path.with_suffix(".md").read_text()
    assert path.stat().st_size <= 20 * 2**20
    assert described["version"] in card
    assert f"{described['threshold']:.3f}" in card


def test_the_default_has_a_scorecard(clip):
    assert clip.info.scorecard.pictures == 1388
    assert "generated" in clip.info.scorecard.meaning(0.99)


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["clip", "tiny"])
def test_the_sample_photographs_are_real(request, name, path):
    [verdict] = request.getfixturevalue(name).detect([path])
    assert verdict.label == "REAL"


def test_the_default_finds_the_picture_of_a_real_generator(clip):
    [verdict] = clip.detect([SAMPLES / "generated-cat-z-image.jpg"])
    assert verdict.label == "FAKE"


@pytest.mark.parametrize("name", ["building-exterior", "windows"])
def test_d3_tiny_finds_the_samples_of_easy_decoders(tiny, name):
    [verdict] = tiny.detect([SAMPLES / f"generated-{name}.jpg"])
    assert verdict.label == "FAKE"
