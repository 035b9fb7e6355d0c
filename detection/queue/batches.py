"""Batches whose images are queued: sent as a whole, in parts, or by a scan.

The images are judged later, by workers or, without a broker, by this process. The records hold the
queue, so it outlives both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Unpack

from django.conf import settings

from detection.judging import Options, Upload
from detection.models import PredictionBatch, QueuedImage, Source
from detection.queue.arrivals import BatchClosedError, add_images, add_in_groups, store_images
from detection.queue.closing import Sending, Status, complete_sending
from detection.queue.quota import quota_of, within_quota
from detection.queue.wake_up import wake_workers
from detection.queue.webhooks import check_webhook_url
from detection.records import open_batch, undo_writes


def queue_batch(
    *,
    uploads: Iterable[Upload],
    more: bool = False,
    webhook_url: str = "",
    **options: Unpack[Options],
) -> PredictionBatch:
    """Store the images of a new batch and queue them; return its record. The batch stays open when
    ``more`` images are to follow.

    Raises WebhookUrlError, UnavailableError, TooManyQueuedError, QueueQuotaError, or what reading
    ``uploads`` raises; then nothing is left of the batch.
    """
    if webhook_url:
        check_webhook_url(webhook_url)
    batch = open_batch(
        total_images=0,
        status=Status.QUEUED,
        sending=Sending.OPEN,
        webhook_url=webhook_url,
        **options,
    )
    try:
        _add(batch, uploads, more=more)
    except BaseException as error:
        undo_writes(cause=error, batches=[batch])
        raise
    return batch


def append_to_batch(
    *, batch: PredictionBatch, uploads: Iterable[Upload], more: bool = False
) -> int:
    """Queue a further part of an open batch, the last part unless there are ``more``; return the
    number of its images.

    Raises BatchClosedError and what ``queue_batch`` does; then nothing of this part is left.
    """
    if batch.sending != Sending.OPEN or batch.source == Source.SCAN:  # a scan sends its own images
        raise BatchClosedError(batch)
    return _add(batch, uploads, more=more)


def _add(batch: PredictionBatch, uploads: Iterable[Upload], *, more: bool) -> int:
    uploads = within_quota(uploads, quota=quota_of(batch))
    places = add_images(
        batch=batch, images=store_images(uploads), max_images=settings.MAX_ASYNC_IMAGES, more=more
    )
    wake_workers(batch=batch, places=places)
    return len(places)


def send_scan(
    *, images: Iterable[QueuedImage], threshold: float | None
) -> Iterator[PredictionBatch]:
    """Queue any number of stored images as one batch, which is judged while further images are
    sent. Yield the batch after each group of images.

    Raises UnavailableError, or what reading ``images`` raises. In that case, or when the caller
    leaves early, the images that were sent are judged, and the batch ends as failed.
    """
    batch = open_batch(
        total_images=0,
        source=Source.SCAN,
        status=Status.QUEUED,
        sending=Sending.OPEN,
        threshold=threshold,
    )
    sending, is_woken = Sending.BROKEN_OFF, True
    try:
        yield batch
        for places in add_in_groups(batch=batch, images=images):
            # After a failure no further message is tried: each would wait seconds for a lost
            # broker, and the messages for a million images would wait days.
            is_woken = is_woken and wake_workers(batch=batch, places=places)
            yield batch
        sending = Sending.COMPLETE
    finally:
        complete_sending(batch=batch, sending=sending)
