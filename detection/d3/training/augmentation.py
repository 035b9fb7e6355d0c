"""Three augmentations of training pictures.

``clip_augmentation`` is the published one, for a CLIP tower that sees whole pictures.
``web_augmentation`` is for a CLIP tower that sees crops at native resolution: it degrades pictures
as the web does. ``residual_augmentation`` is for small towers. These overfit to traces at one scale
of few pictures, so it also rescales, and its blur and JPEG are weak enough to leave traces.

Each takes a picture (PIL, RGB) and a random generator, and returns a picture. The same state of the
generator gives the same change, so that a real picture and the fake made from it can be changed
alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ..images import recompress, recompress_webp, rescale

Augmentation = Callable[[Image.Image, Random], Image.Image]

FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)
SMALLEST_SIDE = 128  # ``web_augmentation`` shrinks no shorter side below so many pixels
BORDER = 16  # pixels by which the JPEG grid can be shifted against the final crop


def clip_augmentation(image: Image.Image, random: Random, *, size: int = 224) -> Image.Image:
    """Augment as Yang et al. (CVPR 2025): resize 256, crop 224, flip, blur σ 0–3, JPEG 30–100."""
    whole = round(size * 256 / 224)
    image = image.resize((whole, whole), Image.Resampling.BILINEAR)
    image = random_crop(image, size, random)
    image = _random_flip(image, random)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 3)))
    if random.random() < 0.5:
        image = recompress(image, random.randint(30, 100))
    return image


def residual_augmentation(image: Image.Image, random: Random, *, size: int = 256) -> Image.Image:
    """Rescale, tone, blur, noise, JPEG, crop and flip, each with a probability of its own.

    Rescaling is by 0.5–1.25, blur has σ 0–1.5, noise a deviation of 1–5 grey levels, like that of a
    sensor, JPEG a quality of 50–98.
    """
    image = random_crop(image, 2 * size + BORDER, random)  # the most that rescaling can use
    if random.random() < 0.35:
        image = rescale(image, random.uniform(0.5, 1.25), random.choice(FILTERS))
    if random.random() < 0.3:
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.3))
        image = ImageEnhance.Contrast(image).enhance(random.uniform(0.7, 1.3))
    if random.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.5)))
    if random.random() < 0.1:
        image = _add_noise(image, random.uniform(1, 5), random)
    if random.random() < 0.4:
        image = recompress(image, random.randint(50, 98), subsampling=random.choice((0, 2)))
    image = random_crop(image, size, random)
    image = _random_flip(image, random)
    return ImageOps.flip(image) if random.random() < 0.5 else image


def web_augmentation(image: Image.Image, random: Random, *, size: int = 224) -> Image.Image:
    """Rescale, tone, blur, noise, one or two compressions, crop and flip, each by chance.

    Rescaling is by 0.4–1.25 but to no less than 128 pixels, JPEG and WebP have a quality of 40–100.
    At the end one picture in twelve is scaled and compressed once more, like a screenshot.
    """
    if random.random() < 0.6:
        least = max(0.4, SMALLEST_SIDE / min(image.size))
        factor = math.exp(random.uniform(math.log(min(least, 1.0)), math.log(1.25)))
        image = rescale(image, factor, random.choice(FILTERS))
    image = _retoned(image, random)
    if random.random() < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.5)))
    if random.random() < 0.08:
        image = _add_noise(image, random.uniform(1, 6), random)
    kind = random.random()
    if kind < 0.5:
        image = recompress(image, random.randint(40, 100), subsampling=random.choice((0, 2)))
    elif kind < 0.62:
        image = recompress_webp(image, random.randint(40, 100))
    if random.random() < 1 / 12:
        image = rescale(image, random.uniform(0.7, 1.1), random.choice(FILTERS))
        image = recompress(image, random.randint(60, 95))
    return _random_flip(random_crop(image, size, random), random)


def _retoned(image: Image.Image, random: Random) -> Image.Image:
    """Change the tone: generators prefer strong colours, which must not become a trace."""
    if random.random() < 0.25:
        image = ImageEnhance.Color(image).enhance(random.uniform(0.4, 1.5))
    if random.random() < 0.15:
        image = ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.3))
        image = ImageEnhance.Contrast(image).enhance(random.uniform(0.7, 1.3))
    return ImageOps.grayscale(image).convert("RGB") if random.random() < 0.04 else image


def _add_noise(image: Image.Image, deviation: float, random: Random) -> Image.Image:
    """Add Gaussian noise, ``deviation`` in grey levels."""
    pixels = np.asarray(image, np.float32)
    noise = np.random.default_rng(random.getrandbits(64)).standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.clip(pixels + deviation * noise, 0, 255).round().astype(np.uint8))


def random_crop(image: Image.Image, size: int, random: Random) -> Image.Image:
    """Return a random crop of at most size × size pixels; a shorter side stays whole."""
    width, height = min(size, image.width), min(size, image.height)
    left = random.randint(0, image.width - width)
    top = random.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _random_flip(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.mirror(image) if random.random() < 0.5 else image
