"""What the engine raises on purpose. Each message is one plain sentence for who asked."""

from __future__ import annotations


class D3Error(Exception):
    """Base of everything the engine raises on purpose: ``str(error)`` is one plain sentence."""

    code = "detection_error"


class ImageError(D3Error):
    """The data claim to be an image that we read, but cannot be turned into pixels."""

    code = "undecodable_image"


class EmptyImageError(ImageError):
    """There are no bytes at all."""

    code = "empty_image"


class TruncatedImageError(ImageError):
    """The file begins as an image and ends too early."""

    code = "truncated_image"


class UnsupportedImageError(ImageError):
    """The content is not one of the image types that we read, whatever the file's name says."""

    code = "unsupported_image_type"


class PolyglotImageError(UnsupportedImageError):
    """The file is an image and something else at the same time: an archive, a page, a program."""

    code = "polyglot_file"


class ImageTooLargeError(ImageError):
    """The file has more bytes than the limit."""

    code = "image_too_large"


class TooManyPixelsError(ImageError):
    """The picture has more pixels than the limit."""

    code = "too_many_pixels"


class CheckpointError(D3Error):
    """A file of weights that cannot be used; the message names the file and its first problem."""

    code = "bad_checkpoint"


class TowerError(CheckpointError):
    """The CLIP tower that a checkpoint names is not in the cache, or is not the right one."""
