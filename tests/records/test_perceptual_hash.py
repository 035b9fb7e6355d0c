"""Perceptual hashes of a picture and of changed copies."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageOps

from detection.records.perceptual_hash import (
    BAND_BITS,
    BITS,
    REGIONS,
    bands,
    distance,
    mirrored,
    perceptual_hashes,
)
from tests.support.factories import jpeg_bytes, scene


def nearest(first: Image.Image, second: Image.Image) -> int:
    """Return the least distance of the first picture to the second, or to one of its regions."""
    [whole, *_] = perceptual_hashes(first)
    return min(distance(whole, each) for each in perceptual_hashes(second))


CHANGES = {
    "JPEG 50": lambda picture: Image.open(io.BytesIO(jpeg_bytes(picture, quality=50))),
    "resized": lambda picture: picture.resize((96, 72), Image.Resampling.LANCZOS),
    "grey": lambda picture: picture.convert("L"),
    "cropped": lambda picture: picture.crop((0, 0, 304, 228)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_copy_is_near_and_another_picture_is_not(change):
    picture, other = scene(seed=1), scene(seed=2)

    assert nearest(change(picture), picture) <= 40
    assert nearest(change(picture), other) > 80


def test_the_mirror_image_has_nearly_the_mirrored_hash():
    picture = scene(seed=1)
    [whole, *_], [flipped, *_] = map(perceptual_hashes, (picture, ImageOps.mirror(picture)))

    assert distance(mirrored(whole), flipped) <= 20
    assert distance(whole, flipped) > 80


def test_the_bands_are_the_first_bits_of_the_hash():
    whole, *regions = perceptual_hashes(scene(seed=3))

    assert len(regions) == REGIONS - 1
    assert 0 <= whole < 2**BITS
    assert bands(0b1 << (BITS - BAND_BITS)) == [1, 0, 0, 0]
    assert bands(0b1 << (BITS - 2 * BAND_BITS)) == [0, 1, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
def test_a_narrow_picture_has_hashes_too(size):
    assert len(perceptual_hashes(Image.new("RGB", size, "red"))) == REGIONS
