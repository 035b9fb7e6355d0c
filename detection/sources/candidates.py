"""Files that may be images: they have an image's content, or are named like an image."""

from __future__ import annotations

from detection.d3.errors import RawPhotographError, UnsupportedImageError
from detection.d3.images import image_format

# Some are types that cannot be read: the owner of such pictures wants to know that they were not.
IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"),
    *(".jp2", ".jxl", ".psd", ".tga", ".ppm", ".exr"),
    *(".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2"),
)
HEAD_BYTES = 1024  # enough for every signature


def is_named_like_an_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_EXTENSIONS)


def has_image_content(head: bytes) -> bool:
    """Return whether ``head``, the first HEAD_BYTES of a file, begins an image."""
    try:
        image_format(head)
    except UnsupportedImageError as error:
        return isinstance(error, RawPhotographError)
    return True
