"""The files that were sent, as they are kept beside the records."""

from __future__ import annotations

from django.core.files.storage import default_storage

from detection.errors import ServiceError, storage_errors
from detection.models import Prediction


class OriginalLostError(ServiceError):
    """The record's original is not in the storage."""

    code = "original_lost"


def read_original(prediction: Prediction) -> bytes:
    """The bytes that were judged. Raises OriginalLostError, and UnavailableError when the storage
    is down.
    """
    return read_stored(prediction.original_image.name, filename=prediction.original_filename)


def read_stored(key: str | None, *, filename: str) -> bytes:
    """The same for any original, by its key."""
    with storage_errors():
        try:
            if key:
                with default_storage.open(key) as file:
                    return file.read()
        except FileNotFoundError:
            pass
    raise OriginalLostError(f"The original of {filename} is no longer in the storage.")
