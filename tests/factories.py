"""Small images and uploads, the same ones at every run."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from detection.services import Upload


def noise_image(*, size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    """An RGB image of noise; ``size`` is width × height."""
    width, height = size
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(samples)


def image_bytes(
    *, size: tuple[int, int] = (64, 48), seed: int = 0, image_format: str = "JPEG"
) -> bytes:
    buffer = io.BytesIO()
    noise_image(size=size, seed=seed).save(buffer, image_format)
    return buffer.getvalue()


def an_upload(*, filename: str = "test.jpg", data: bytes | None = None, seed: int = 0) -> Upload:
    return Upload(filename=filename, data=image_bytes(seed=seed) if data is None else data)
