"""Several images in one request: judged at once, or in their turn while the client does other work.

Without a task queue the turn comes in this process: one batch after the other, in order. Batches
that were accepted are finished before the process ends.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from detection import metrics
from detection.leftovers import take_back
from detection.models import PredictionBatch
from detection.services import Outcome, Upload, close_batch, open_batch, predict_images
from detection.unavailable import QueueFullError, UnavailableError, database_errors

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

logger = logging.getLogger(__name__)

MOST_WAITING = 4  # batches whose images are kept in memory until their turn is over
CLOSING_TRIES = 60  # to note how a batch ended, while the database is down
CLOSING_PAUSE_SECONDS = 5.0

Status = PredictionBatch.Status


def predict_batch(
    *,
    uploads: list[Upload],
    source: str,
    owner: AbstractUser | None = None,
    threshold: float | None = None,
    store: bool = True,
) -> tuple[PredictionBatch, list[Outcome]]:
    """Judges the images at once: the batch, and one outcome per upload in their order.

    Raises UnavailableError or D3Error; then no record and no file of the batch is left.
    """
    if not store:
        return _unstored_batch(uploads=uploads, source=source, owner=owner, threshold=threshold)
    batch = open_batch(total_images=len(uploads), source=source, owner=owner)
    outcomes: list[Outcome] = []
    try:
        for outcome in predict_images(
            uploads=uploads,
            source=source,
            owner=owner,
            batch=batch,
            threshold=threshold,
            batch_size=len(uploads),
        ):
            outcomes.append(outcome)
        close_batch(batch=batch)
    except BaseException as error:
        _take_back(batch, outcomes, cause=error)
        raise
    return batch, outcomes


def _unstored_batch(
    *, uploads: list[Upload], source: str, owner: AbstractUser | None, threshold: float | None
) -> tuple[PredictionBatch, list[Outcome]]:
    batch = PredictionBatch(total_images=len(uploads), source=source, status=Status.DONE)
    outcomes = list(
        predict_images(
            uploads=uploads,
            source=source,
            owner=owner,
            threshold=threshold,
            store=False,
            batch_size=len(uploads),
        )
    )
    for index, outcome in enumerate(outcomes):
        batch.count(index=index, filename=outcome.upload.filename, error=outcome.error)
    return batch, outcomes


def _take_back(batch: PredictionBatch, outcomes: list[Outcome], *, cause: BaseException) -> None:
    predictions = [outcome.prediction for outcome in outcomes if outcome.prediction]
    take_back(
        cause=cause,
        predictions=[prediction.pk for prediction in predictions],
        batches=[batch.pk],
        files=[key for prediction in predictions for key in prediction.file_keys],
    )


def queue_batch(
    *,
    uploads: list[Upload],
    source: str,
    owner: AbstractUser | None = None,
    threshold: float | None = None,
) -> PredictionBatch:
    """The record of a batch whose images are judged when those before it are done.

    Raises UnavailableError, as QueueFullError where too many wait already.
    """
    _queue.take_place()
    try:
        # The files of a request go away with it.
        kept = [_in_memory(upload) for upload in uploads]
        batch = open_batch(
            total_images=len(uploads), source=source, owner=owner, status=Status.QUEUED
        )
    except BaseException:
        _queue.leave_place()
        raise
    try:
        # A copy: the caller shows the batch as it is now, while its images are judged already.
        _queue.threads.submit(_run_queued, deepcopy(batch), kept, threshold)
    except RuntimeError as error:  # no more threads: the process ends
        _queue.leave_place()
        take_back(cause=error, batches=[batch.pk])
        raise QueueFullError("The service is stopping; try again.") from error
    return batch


def finish_batches() -> None:
    """Waits for the batches that were accepted, and takes no more; for a process that ends.

    To be called before the interpreter begins to: from then on no thread can be started.
    """
    _queue.threads.shutdown()


def waiting_batches() -> int:
    """Batches that were accepted and are not finished, the running one included."""
    return _queue.taken


class _Queue:
    """One thread, and a bounded number of places before it."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.taken = 0
        self._lock = threading.Lock()

    def take_place(self) -> None:
        with self._lock:
            if self.taken >= MOST_WAITING:
                raise QueueFullError("Too many batches are waiting already.")
            self.taken += 1
            metrics.QUEUED_BATCHES.set(self.taken)

    def leave_place(self) -> None:
        with self._lock:
            self.taken -= 1
            metrics.QUEUED_BATCHES.set(self.taken)


_queue = _Queue()


def _in_memory(upload: Upload) -> Upload:
    if isinstance(upload.data, Path):
        return Upload(filename=upload.filename, data=upload.data.read_bytes())
    return upload


def _run_queued(batch: PredictionBatch, uploads: list[Upload], threshold: float | None) -> None:
    try:
        status = _judge_queued(batch, uploads, threshold)
        _close_when_possible(batch, status)
    finally:
        connection.close()
        _queue.leave_place()


def _judge_queued(
    batch: PredictionBatch, uploads: list[Upload], threshold: float | None
) -> PredictionBatch.Status:
    try:
        with database_errors():
            batch.status = Status.RUNNING
            batch.save(update_fields=["status"])
        for _ in predict_images(
            uploads=uploads,
            source=batch.source,
            owner=batch.owner,
            batch=batch,
            threshold=threshold,
        ):
            pass
    except Exception:
        logger.exception("Batch %s broke off.", batch.pk)
        return Status.FAILED
    return Status.DONE


def _close_when_possible(batch: PredictionBatch, status: PredictionBatch.Status) -> None:
    for _ in range(CLOSING_TRIES):
        try:
            close_batch(batch=batch, status=status)
        except UnavailableError:
            time.sleep(CLOSING_PAUSE_SECONDS)
        else:
            return
    logger.error("How batch %s ended could not be noted: %s.", batch.pk, status)
