"""Every error that the engine raises on purpose. ``str(error)`` is one plain sentence for users."""

from __future__ import annotations


class D3Error(Exception):
    """Base of all errors of the engine."""

    code = "detection_error"


class ImageError(D3Error):
    """The data claim to be an image of a supported type, but cannot be turned into pixels."""

    code = "undecodable_image"


class EmptyImageError(ImageError):
    """The file has no bytes."""

    code = "empty_image"


class TruncatedImageError(ImageError):
    """The file begins as an image and ends before the image does."""

    code = "truncated_image"


class DamagedImageError(ImageError):
    """Pixels within the picture are lost or wrong."""

    code = "damaged_image"


class UnsupportedImageError(ImageError):
    """The content is not of a supported image type, whatever the file's name says."""

    code = "unsupported_image_type"


class PolyglotImageError(UnsupportedImageError):
    """The file is an image and something else at the same time: an archive, a page, a program."""

    code = "polyglot_file"


class RawPhotographError(UnsupportedImageError):
    """The file is a raw photograph: values of a camera's sensor, which are not a picture yet."""

    code = "raw_photograph"


class ImageTooLargeError(ImageError):
    """The file has more bytes than the limit."""

    code = "image_too_large"


class TooManyPixelsError(ImageError):
    """The picture has more pixels than the limit."""

    code = "too_many_pixels"


class CheckpointError(D3Error):
    """A file of weights cannot be used; the message names the file and its first problem."""

    code = "bad_checkpoint"


class TowerError(CheckpointError):
    """The CLIP tower that a checkpoint names is missing in the cache, or has other weights."""


class DatasetError(D3Error):
    """A folder is not a data set; the message names the folder and the missing part."""

    code = "bad_dataset"


class TrainingError(D3Error):
    """A training run cannot begin, resume or continue."""

    code = "training_failed"


class EvaluationError(D3Error):
    """There is nothing to measure, or too little to record."""

    code = "nothing_to_evaluate"


class PerturbationError(D3Error):
    """A specification names no perturbation, or an amount outside its range."""

    code = "bad_perturbation"
