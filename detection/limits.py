"""What an image may cost: bytes and pixels of one, and how many are in memory at a time."""

from __future__ import annotations

from threading import BoundedSemaphore

from django.conf import settings

from detection.d3.decoding import ImageLimits

# A picture of 50 million pixels takes several hundred megabytes while it is decoded.
decoding = BoundedSemaphore(2)
explaining = BoundedSemaphore(1)


def image_limits() -> ImageLimits:
    return ImageLimits(max_bytes=settings.MAX_UPLOAD_BYTES, max_pixels=settings.MAX_IMAGE_PIXELS)
