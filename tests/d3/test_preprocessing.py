from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from detection.d3.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing, crop_boxes
from tests.support.factories import noise_image

pytestmark = pytest.mark.stateless

LEVELS = Preprocessing(kind="crops", size=8, mean=(0.0,) * 3, std=(1 / 255,) * 3, max_crops=4)


def test_resizing_shows_the_whole_picture_and_normalises_it():
    image = noise_image(size=(300, 200))
    [view] = Preprocessing()(image)
    resized = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR), np.float32) / 255
    expected = (resized - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    assert view.dtype == torch.float32
    assert (view.permute(1, 2, 0).numpy() == expected).all()


def test_the_order_of_resizing_can_be_fixed():
    image = noise_image(size=(300, 400))
    [view] = Preprocessing(resize_order="horizontal-first")(image)
    twice = image.resize((224, 400), Image.Resampling.BILINEAR)
    [expected] = Preprocessing()(twice.resize((224, 224), Image.Resampling.BILINEAR))
    assert torch.equal(view, expected)


def test_crops_have_the_unchanged_pixels_of_the_picture():
    image = noise_image(size=(11, 8))
    left, right = LEVELS(image).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = np.asarray(image)
    assert (left == pixels[:, :8]).all()
    assert (right == pixels[:, 3:]).all()


def test_a_small_picture_is_continued_by_mirroring():
    image = noise_image(size=(5, 3))
    [view] = LEVELS(image).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = np.asarray(image)
    assert (view[:3, :5] == pixels).all()
    assert (view[:3, 5:] == pixels[:, 3:0:-1]).all()
    assert (view[3:5, :5] == pixels[1::-1]).all()
    assert (view[5:8] == view[1:4]).all()  # and back again


def test_a_single_pixel_fills_a_view():
    [view] = LEVELS(Image.new("RGB", (1, 1), (1, 2, 3)))
    assert torch.equal(view.round(), torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 8, 8))


def test_a_large_picture_is_reduced_before_crops_are_taken():
    image = noise_image(size=(64, 32))
    reducing = replace(LEVELS, short_side=10)
    first, *_, last = reducing(image).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = np.asarray(image.resize((20, 10), Image.Resampling.BICUBIC))
    assert (first == pixels[:8, :8]).all()
    assert (last == pixels[2:, 12:]).all()
    assert torch.equal(reducing(image.crop((0, 0, 10, 60))), LEVELS(image.crop((0, 0, 10, 60))))


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (8, 5, [(0, 0)]),
        (10, 10, [(0, 0), (2, 2)]),
        (20, 10, [(0, 0), (6, 1), (12, 2)]),
        (10, 90, [(0, 0), (1, 41), (2, 82)]),
    ],
)
def test_crops_on_the_diagonal_span_the_longer_side(width, height, expected):
    assert replace(LEVELS, kind="diagonal", max_crops=3).boxes(width, height) == expected


@pytest.mark.parametrize(("kind", "short_side"), [("resize", 300), ("crops", 7)])
def test_an_impossible_short_side_is_refused(kind, short_side):
    with pytest.raises(ValueError, match="short side"):
        Preprocessing(kind=kind, size=8, short_side=short_side)


@pytest.mark.parametrize(
    ("width", "height", "max_crops", "expected"),
    [
        (8, 8, 4, [(0, 0)]),
        (3, 20, 1, [(0, 6)]),
        (12, 8, 4, [(0, 0), (4, 0)]),
        (16, 16, 4, [(0, 0), (8, 0), (0, 8), (8, 8)]),
        (80, 8, 3, [(0, 0), (36, 0), (72, 0)]),
        (21, 21, 1, [(6, 6)]),
    ],
)
def test_crops_are_spread_evenly_from_end_to_end(width, height, max_crops, expected):
    assert crop_boxes(width, height, 8, max_crops) == expected


@pytest.mark.parametrize("width", [1, 9, 30, 100, 1000])
@pytest.mark.parametrize("height", [1, 16, 77])
@pytest.mark.parametrize("max_crops", [1, 2, 9])
def test_there_are_never_more_crops_than_allowed_and_all_lie_inside(width, height, max_crops):
    boxes = crop_boxes(width, height, 16, max_crops)
    assert 1 <= len(boxes) <= max_crops
    assert len(set(boxes)) == len(boxes)
    for left, top in boxes:
        assert 0 <= left <= max(width - 16, 0)
        assert 0 <= top <= max(height - 16, 0)


def test_settings_survive_their_dictionary():
    assert Preprocessing.from_dict(asdict(LEVELS)) == LEVELS


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "squeeze"},
        {"resize_order": "vertical-first"},
        {"size": 0},
        {"max_crops": 0},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.5,)},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError):  # noqa: PT011  each has a sentence of its own
        Preprocessing(**wrong)
