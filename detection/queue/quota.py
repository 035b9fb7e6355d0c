"""Limit the images, and the bytes of images, that one owner may have in the queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db.models import Count, Sum

from detection.d3.errors import ImageError
from detection.errors import ServiceError, database_errors
from detection.judging import Upload
from detection.models import PredictionBatch, QueuedImage, Source

ANONYMOUS = "anonymous"  # all callers without an account share one quota


class QueueQuotaError(ServiceError):
    """The owner has too much in the queue. The same request may succeed later."""

    code = "queue_quota"

    def __init__(self, most: str) -> None:
        super().__init__(
            f"You may have {most} in the queue; send more when some of yours are judged."
        )


def quota_of(batch: PredictionBatch) -> str:
    """Return whose quota a batch counts for; empty for a scan, which an administrator starts."""
    if batch.source == Source.SCAN:
        return ""
    return str(batch.owner_id or ANONYMOUS)


def within_quota(uploads: Iterable[Upload], *, quota: str) -> Iterable[Upload]:
    """Return ``uploads`` if the queue has room for them, or read them lazily as long as it has.

    Raises QueueQuotaError and UnavailableError, for a list before any image is stored.
    """
    if not quota:
        return uploads
    bounded = _bounded(uploads, *_queued(quota))
    return list(bounded) if isinstance(uploads, list) else bounded


def check_quota(quota: str) -> None:
    """Check the number and bytes of an owner's queued images: other requests may have queued some
    at the same moment. Raises QueueQuotaError and UnavailableError.
    """
    if quota:
        _check(*_queued(quota))


def _queued(quota: str) -> tuple[int, int]:
    """Return how many images an owner has in the queue, and their bytes. Refused images count until
    their batch is closed.
    """
    with database_errors():
        found = QueuedImage.objects.filter(quota=quota).aggregate(
            images=Count("pk"), size_bytes=Sum("size_bytes")
        )
    return found["images"], found["size_bytes"] or 0


def _bounded(uploads: Iterable[Upload], images: int, size_bytes: int) -> Iterator[Upload]:
    for upload in uploads:
        images, size_bytes = images + 1, size_bytes + _size(upload)
        _check(images, size_bytes)
        yield upload


def _check(images: int, size_bytes: int) -> None:
    if images > settings.MAX_QUEUED_IMAGES:
        raise QueueQuotaError(f"{settings.MAX_QUEUED_IMAGES} images")
    if size_bytes > settings.MAX_QUEUED_BYTES:
        raise QueueQuotaError(f"{settings.MAX_QUEUED_BYTES / 2**20:.6g} MiB of images")


def _size(upload: Upload) -> int:
    try:
        with upload.open() as file:
            return file.seek(0, 2)
    except ImageError:  # ``store_images`` refuses it
        return 0
