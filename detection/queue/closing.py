"""Batches with queued images: how far they are, and when they end."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

from django.db.models import QuerySet

from detection.errors import UnavailableError, database_errors
from detection.models import MAX_BATCH_ERRORS, PredictionBatch, QueuedImage, now
from detection.queue.webhooks import announcement
from detection.records import delete_files

logger = logging.getLogger(__name__)

LEFT_OPEN = timedelta(days=1)

Status, Sending = PredictionBatch.Status, PredictionBatch.Sending
UNFINISHED = (Status.QUEUED, Status.RUNNING)


def complete_sending(*, batch: PredictionBatch, sending: str = Sending.COMPLETE) -> None:
    """No more images will come: the batch is closed when none waits any more.

    Raises UnavailableError; then more may still come.
    """
    with database_errors():
        row_of(batch).filter(sending=Sending.OPEN).update(sending=sending)
    batch.sending = sending
    with suppress(UnavailableError):  # whoever looks for what was left closes it
        close_when_done(batch_id=batch.pk)


def close_when_done(*, batch_id: str) -> bool:
    """Closes the batch unless more images may come, or some wait; whether it was closed just now,
    which happens once, however many ask.
    """
    with database_errors():
        batch = PredictionBatch.objects.filter(pk=batch_id, status__in=UNFINISHED).first()
        if batch is None or batch.sending in ("", Sending.OPEN) or waiting_images(batch).exists():
            return False
        refresh_counts(batch)
        is_ours = PredictionBatch.objects.filter(pk=batch_id, status__in=UNFINISHED).update(
            status=Status.DONE if batch.sending == Sending.COMPLETE else Status.FAILED,
            total_images=batch.successful + batch.failed,
            successful=batch.successful,
            failed=batch.failed,
            errors=batch.errors,
            finished_at=now(),
            **announcement(batch),
        )
        if waiting_images(batch).exists():  # a part that was on its way has come
            _reopen(batch)
            return False
        _forget_refused(batch_id)
    return bool(is_ours)


def _reopen(batch: PredictionBatch) -> None:
    row_of(batch).update(
        status=Status.RUNNING,
        total_images=batch.total_images,
        finished_at=None,
        webhook_due_at=None,
    )


def forget_refused() -> None:
    """Where who closed a batch was killed right after it. Raises UnavailableError."""
    with database_errors():
        refused = QueuedImage.objects.filter(code__gt="").order_by()
        for batch_id in set(refused.values_list("batch", flat=True).distinct()):
            if not unfinished_batches().filter(pk=batch_id).exists():
                _forget_refused(batch_id)


def _forget_refused(batch_id: str) -> None:
    """The record of a closed batch lists them."""
    refused = QueuedImage.objects.filter(batch=batch_id, code__gt="")
    for key in refused.filter(original_image__gt="").values_list("original_image", flat=True):
        delete_files([key])  # whoever refused it was killed before
    refused.delete()


def refresh_counts(batch: PredictionBatch) -> None:
    """Sets the counts and errors of a batch whose images wait to what the records say now."""
    if not batch.sending or batch.finished_at:
        return
    with database_errors():
        refused = QueuedImage.objects.filter(batch=batch.pk, code__gt="")
        batch.successful = batch.predictions.count()
        batch.failed = refused.count()
        batch.errors = [
            {"index": index, "filename": filename, "error": error, "code": code}
            for index, filename, error, code in refused.order_by("batch_index").values_list(
                "batch_index", "filename", "error", "code"
            )[:MAX_BATCH_ERRORS]
        ]


def count_waiting(batch: PredictionBatch) -> int:
    """Images of the batch that nobody has judged yet."""
    if not batch.sending or batch.finished_at:
        return 0
    with database_errors():
        return waiting_images(batch).count()


def unfinished_batches() -> QuerySet[PredictionBatch]:
    """Batches with images that wait, or that may still get some; in the order of their creation."""
    return (
        PredictionBatch.objects.filter(status__in=UNFINISHED)
        .filter(sending__gt="")
        .order_by("created_at")
        .defer("errors")
    )


def close_left_open(*, batch: PredictionBatch) -> None:
    """A batch whose next part has not come for a day gets none any more."""
    if batch.sending == Sending.OPEN and _last_sent(batch) < now() - LEFT_OPEN:
        logger.warning("Batch %s was left open; it is closed.", batch.pk)
        complete_sending(batch=batch, sending=Sending.BROKEN_OFF)


def _last_sent(batch: PredictionBatch):
    newest = QueuedImage.objects.filter(batch=batch.pk).order_by("-batch_index").first()
    if newest is not None:
        return newest.moment
    judged = batch.predictions.order_by("-batch_index").first()
    return judged.created_at if judged else batch.created_at


def waiting_images(batch: PredictionBatch) -> QuerySet[QueuedImage]:
    return QueuedImage.objects.filter(batch=batch.pk, code="")


def row_of(batch: PredictionBatch) -> QuerySet[PredictionBatch]:
    return PredictionBatch.objects.filter(pk=batch.pk)
