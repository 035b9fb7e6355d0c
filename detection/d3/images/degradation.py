"""Lossy changes that pictures undergo on the web: from RGB pictures to RGB pictures.

Training augments pictures with these changes; evaluation measures robustness to them.
"""

from __future__ import annotations

import io

from PIL import Image


def recompress(image: Image.Image, quality: int, *, subsampling: int = 2) -> Image.Image:
    """Return the picture after one JPEG round trip. ``quality`` is 1 to 100."""
    data = jpeg_bytes(image, quality, subsampling=subsampling)
    return Image.open(io.BytesIO(data)).convert("RGB")


def recompress_webp(image: Image.Image, quality: int) -> Image.Image:
    """Return the picture after one lossy WebP round trip. ``quality`` is 1 to 100."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality)
    return Image.open(stream).convert("RGB")


def jpeg_bytes(image: Image.Image, quality: int, *, subsampling: int = 2) -> bytes:
    """Return the picture as a JPEG file; subsampling 2 is 4:2:0, 0 is 4:4:4."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return stream.getvalue()


def rescale(image: Image.Image, factor: float, resample: Image.Resampling) -> Image.Image:
    """Return the picture with both sides times ``factor``, at least one pixel."""
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), resample)
