"""The checkpoint that every newcomer meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.d3 import Detector

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "checkpoints" / "d3-tiny.safetensors"
CARD = ROOT / "checkpoints" / "d3-tiny.md"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_checkpoint(CHECKPOINT, device="cpu")


def test_it_is_small():
    assert CHECKPOINT.stat().st_size <= 20 * 2**20


def test_its_card_is_about_these_weights(detector):
    card = CARD.read_text()
    assert detector.info.version in card
    assert f"{detector.info.parameters:,}" in card
    assert f"{detector.info.threshold:.3f}" in card


@pytest.mark.parametrize(
    "path", sorted((ROOT / "samples").glob("photo-*.jpg")), ids=lambda path: path.name
)
def test_the_sample_photographs_are_real(detector, path):
    [verdict] = detector.detect([path])
    assert verdict.label == "REAL"


@pytest.mark.parametrize("name", ["building-exterior", "windows"])
def test_the_samples_of_the_easy_generators_are_fake(detector, name):
    [verdict] = detector.detect([ROOT / "samples" / f"generated-{name}.jpg"])
    assert verdict.label == "FAKE"
