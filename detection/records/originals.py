"""Read originals from the storage: images as clients sent them."""

from __future__ import annotations

from django.core.files.storage import default_storage

from detection.errors import ServiceError, storage_errors
from detection.models import Prediction, QueuedImage


class OriginalLostError(ServiceError):
    """The record's original is not in the storage."""

    code = "original_lost"


def read_original(record: Prediction | QueuedImage) -> bytes:
    """Return the bytes of the image. Raises OriginalLostError, and UnavailableError when the
    storage is down.
    """
    with storage_errors():
        try:
            if record.original_image:
                with default_storage.open(record.original_image.name) as file:
                    return file.read()
        except FileNotFoundError:
            pass
    name = record.filename if isinstance(record, QueuedImage) else record.original_filename
    raise OriginalLostError(f"The original of {name} is no longer in the storage.")
