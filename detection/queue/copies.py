"""Add objects of the S3 store to the queue, as copies that the store itself makes."""

from __future__ import annotations

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.d3.errors import UnsupportedImageError
from detection.d3.images import check_size, image_format
from detection.errors import storage_errors
from detection.files import clean_filename, original_filename
from detection.judging import image_limits
from detection.models import QueuedImage
from detection.queue.arrivals import storing
from detection.sources import HEAD_BYTES, StoredObject, read_object, store_client


def copy_image(found: StoredObject) -> QueuedImage | None:
    """Copy an object; return its queued image, unsaved, or None for an object that is no image.

    A ``store`` for ``store_images``. Raises UnavailableError.
    """
    image = QueuedImage(filename=clean_filename(found.key))
    with storing(image):
        try:
            content_format = _format(found)
        except UnsupportedImageError:
            if found.is_named_like_an_image:
                raise
            return None
        name = original_filename(image.filename, image_format=content_format)
        image.original_image = image.key("originals", name)
        image.size_bytes = found.size
        _copy(found, image.original_image.name)
    return image


def _format(found: StoredObject) -> str:
    """Return the format of the object. Raises ImageError for an object that can be refused without
    decoding.
    """
    check_size(found.size, image_limits().max_bytes)
    return image_format(read_object(found, Range=f"bytes=0-{HEAD_BYTES - 1}"))


def _copy(found: StoredObject, key: str) -> None:
    """Let the store copy the object; where it cannot, copy it through this process."""
    source = {"Bucket": found.bucket, "Key": found.key}
    try:
        store_client().copy_object(Bucket=default_storage.bucket_name, Key=key, CopySource=source)
    except Exception:
        data = read_object(found)
        with storage_errors():
            default_storage.save(key, ContentFile(data))
