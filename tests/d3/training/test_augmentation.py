from __future__ import annotations

from random import Random

import numpy as np
import pytest
from PIL import Image

from detection.d3.images import jpeg_bytes, recompress
from detection.d3.training.augmentation import clip_augmentation, residual_augmentation
from tests.support.factories import noise_image

pytestmark = pytest.mark.stateless

AUGMENTATIONS = (clip_augmentation, residual_augmentation)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_same_random_state_gives_the_same_picture(augmentation):
    image = noise_image(seed=1)
    first, second = (augmentation(image, Random("a")) for _ in range(2))
    assert np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_other_states_give_other_pictures(augmentation):
    image = noise_image(seed=1)
    assert len({augmentation(image, Random(seed)).tobytes() for seed in range(8)}) > 4


def test_the_published_recipe_ends_with_224_pixels():
    for seed in range(5):
        assert clip_augmentation(Image.new("RGB", (300, 40)), Random(seed)).size == (224, 224)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (700, 500)])
def test_augmented_pictures_are_at_most_as_large_as_a_crop(size):
    for seed in range(12):
        width, height = residual_augmentation(Image.new("RGB", size), Random(seed)).size
        assert 1 <= width <= 256
        assert 1 <= height <= 256


def test_jpeg_loses_more_at_a_lower_quality():
    image = noise_image(seed=2)
    pixels = np.asarray(image, float)
    errors = [np.abs(np.asarray(recompress(image, q), float) - pixels).mean() for q in (95, 30)]
    assert 0 < errors[0] < errors[1]


def test_chroma_is_not_subsampled_on_request():
    image = noise_image(seed=3)
    assert len(jpeg_bytes(image, 90, subsampling=0)) > len(jpeg_bytes(image, 90, subsampling=2))
