"""Several images in one request: judged at once, or in their turn while the client does other work.

The turn comes in a worker where there is a broker. Without one it comes in this process: one batch
after the other, in order. What waits is in the records (see ``queue``), so it outlives both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from django.conf import settings

from detection.errors import database_errors
from detection.judging import Upload
from detection.models import PredictionBatch, QueuedImage, Source
from detection.queue import broker, local_worker
from detection.queue.arrivals import (
    BatchClosedError,
    add_images,
    add_in_groups,
    give_back_places,
    store_images,
    take_back_images,
)
from detection.queue.closing import (
    Sending,
    Status,
    close_left_open,
    close_when_done,
    complete_sending,
    forget_refused,
    unfinished_batches,
)
from detection.queue.leases import CHUNK, free_places
from detection.queue.webhooks import check_webhook_url
from detection.records import open_batch, take_back

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

logger = logging.getLogger(__name__)

MAX_WAKE_UPS = 2000  # at a time; the rest follows when these are done
FINISHING_SECONDS = 100  # of gunicorn's graceful_timeout, for batches that were accepted


def queue_batch(
    *,
    uploads: Iterable[Upload],
    source: str,
    owner: AbstractUser | None = None,
    threshold: float | None = None,
    more: bool = False,
    webhook_url: str = "",
) -> PredictionBatch:
    """The record of a batch whose images are stored, and judged when their turn comes; it is kept
    open when ``more`` are to follow.

    Raises WebhookUrlError, UnavailableError, TooManyQueuedError, or what reading ``uploads``
    raises; then nothing is left of the batch.
    """
    if webhook_url:
        check_webhook_url(webhook_url)
    batch = open_batch(
        total_images=0,
        source=source,
        owner=owner,
        status=Status.QUEUED,
        sending=Sending.OPEN,
        threshold=threshold,
        webhook_url=webhook_url,
    )
    try:
        _add(batch, uploads, more=more)
    except BaseException as error:
        take_back(cause=error, batches=[batch.pk])
        raise
    return batch


def append_to_batch(
    *, batch: PredictionBatch, uploads: Iterable[Upload], more: bool = False
) -> int:
    """A further part of a batch that was kept open, the last one without ``more``; the number of
    its images.

    Raises BatchClosedError and what ``queue_batch`` does; then nothing of this part is left.
    """
    if batch.sending != Sending.OPEN or batch.source == Source.SCAN:  # a scan sends its own
        raise BatchClosedError(batch)
    return _add(batch, uploads, more=more)


def _add(batch: PredictionBatch, uploads: Iterable[Upload], *, more: bool) -> int:
    images: list[QueuedImage] = []
    places = range(0)
    try:
        for image in store_images(uploads):
            images.append(image)
        places = add_images(batch=batch, images=images, most=settings.MAX_ASYNC_IMAGES)
        if not more:
            complete_sending(batch=batch)
    except BaseException as error:
        take_back_images(images, cause=error)
        give_back_places(batch, places)
        raise
    wake_workers(batch=batch, places=places)
    return len(places)


def send_scan(
    *, images: Iterable[QueuedImage], threshold: float | None
) -> Iterator[PredictionBatch]:
    """A batch of any number of stored images, which is judged while further ones are sent; the
    batch with its images so far, after each few.

    Raises UnavailableError, or what reading ``images`` raises. When that happens, or the iterator
    is closed before its end, what was sent until then is judged, and the batch ends as failed.
    """
    batch = open_batch(
        total_images=0,
        source=Source.SCAN,
        status=Status.QUEUED,
        sending=Sending.OPEN,
        threshold=threshold,
    )
    sending, is_heard = Sending.BROKEN_OFF, True
    try:
        yield batch
        for places in add_in_groups(batch=batch, images=images):
            # With each message a lost broker would cost seconds, for a million images days.
            is_heard = is_heard and wake_workers(batch=batch, places=places)
            yield batch
        sending = Sending.COMPLETE
    finally:
        complete_sending(batch=batch, sending=sending)


def wake_workers(*, batch: PredictionBatch, places: range | list[int]) -> bool:
    """Somebody will judge these images soon. A lost broker delays it until ``requeue``; then False
    is returned. It never raises: the images wait, whatever is wrong with the messages.
    """
    try:
        if broker.is_configured():
            broker.send_wake_ups(batch=batch, places=places)
        else:
            local_worker.start()
    except Exception as error:
        reason = error.__cause__ or error
        logger.warning("Batch %s waits until it can be announced: %s", batch.pk, reason)
        return False
    return True


def requeue() -> None:
    """Wakes workers for images that none of them knows of, because a worker or the broker was
    killed, and closes what was left open. Cheap when there is nothing to do.

    Raises UnavailableError.
    """
    forget_refused()
    with database_errors():
        for batch in unfinished_batches():
            close_left_open(batch=batch)
            close_when_done(batch_id=batch.pk)
        batches = list(unfinished_batches())
        if not batches:
            return
        messages = broker.waiting_messages()
        batches = [batch for batch in batches if not messages[broker.queue_of(batch)]]
        left = MAX_WAKE_UPS * CHUNK
        for batch in batches:
            places = free_places(batch=batch, most=left)
            broker.send_wake_ups(batch=batch, places=places)
            left -= len(places)


def resume_batches() -> None:
    """Goes on with what a process that was killed has left; with a broker, ``requeue`` does."""
    if not broker.is_configured():
        local_worker.start()


def finish_batches() -> None:
    """Judges what was accepted, as far as the time lasts, and no more; for a process that ends.

    To be called before the interpreter begins to: from then on no thread can be started.
    """
    local_worker.finish(within=FINISHING_SECONDS)


def waiting_batches() -> int:
    """Batches that are not finished."""
    with database_errors():
        return unfinished_batches().count()
