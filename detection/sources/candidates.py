"""Decide which files may be images: those with an image's content, or a name like an image's."""

from __future__ import annotations

from detection.d3.errors import RawPhotographError, UnsupportedImageError
from detection.d3.images import image_format

# Some of these types cannot be read. They are listed, so that the report names such pictures.
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
