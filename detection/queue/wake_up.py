"""Wake the workers that judge the queue: those of Celery or, without a broker, a thread of this
process.
"""

from __future__ import annotations

import logging

from detection.errors import database_errors
from detection.models import PredictionBatch
from detection.queue import broker, local_worker
from detection.queue.closing import (
    close_left_open,
    close_when_done,
    delete_old_refusals,
    unfinished_batches,
)
from detection.queue.leases import CHUNK, free_places

logger = logging.getLogger(__name__)

MAX_WAKE_UPS = 2000  # in one call; the next call sends further ones
FINISHING_SECONDS = 100  # of gunicorn's graceful_timeout, for batches that were accepted


def wake_workers(*, batch: PredictionBatch, places: range | list[int]) -> bool:
    """Wake workers for queued images. Never raises: when the broker is lost, return False, and
    ``requeue`` wakes the workers later.
    """
    try:
        if broker.is_configured():
            broker.send_wake_ups(batch=batch, places=places)
        else:
            local_worker.start()
    except Exception as error:
        reason = error.__cause__ or error
        logger.warning("No worker was woken for batch %s: %s", batch.pk, reason)
        return False
    return True


def requeue() -> None:
    """Wake workers for images that a killed worker or broker left, and close batches that were left
    open. If there is nothing to do, this takes little time.

    Raises UnavailableError.
    """
    delete_old_refusals()
    with database_errors():
        for batch in unfinished_batches():
            close_left_open(batch=batch)
            close_when_done(batch_id=batch.pk)
        batches = list(unfinished_batches())
        if not batches:
            return
        messages = broker.queued_messages()
        batches = [batch for batch in batches if not messages[broker.queue_of(batch)]]
        left = MAX_WAKE_UPS * CHUNK
        for batch in batches:
            places = free_places(batch=batch, max_images=left)
            broker.send_wake_ups(batch=batch, places=places)
            left -= len(places)


def resume_batches() -> None:
    """Judge the images that a killed process left queued; with a broker, ``requeue`` does that."""
    if not broker.is_configured():
        local_worker.start()


def finish_batches() -> None:
    """Judge accepted batches for FINISHING_SECONDS at most, before the process ends.

    Call this before the interpreter shuts down, since no thread can be started afterwards.
    """
    local_worker.finish(within=FINISHING_SECONDS)
