"""Limits on an image's bytes and pixels, and on the images that are in memory at a time."""

from __future__ import annotations

import os
from threading import BoundedSemaphore

from django.conf import settings

from detection.d3.images import ImageLimits

# One per core, since more would not be faster: a picture of 64 million pixels takes several hundred
# megabytes while it is decoded.
DECODING = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
decoding = BoundedSemaphore(DECODING)
explaining = BoundedSemaphore(1)
animating = BoundedSemaphore(1)  # a decoder of many frames holds a canvas from one to the next


def image_limits() -> ImageLimits:
    return ImageLimits(max_bytes=settings.MAX_UPLOAD_BYTES, max_pixels=settings.MAX_IMAGE_PIXELS)
