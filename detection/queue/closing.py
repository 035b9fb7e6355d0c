"""Count the progress of batches with queued images, and close these batches."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta

from django.db.models import QuerySet

from detection.errors import UnavailableError, database_errors
from detection.models import MAX_BATCH_ERRORS, PredictionBatch, QueuedImage, now
from detection.queue.webhooks import webhook_fields
from detection.records import delete_files

logger = logging.getLogger(__name__)

LEFT_OPEN = timedelta(days=1)  # how long after its last image an open batch is closed

Status, Sending = PredictionBatch.Status, PredictionBatch.Sending
UNFINISHED = (Status.QUEUED, Status.RUNNING)


def complete_sending(*, batch: PredictionBatch, sending: str = Sending.COMPLETE) -> None:
    """Record that no more images follow: the batch is closed as soon as no image is queued.

    Raises UnavailableError; then the batch stays open.
    """
    with database_errors():
        row_of(batch).filter(sending=Sending.OPEN).update(sending=sending)
    batch.sending = sending
    with suppress(UnavailableError):  # a worker or ``requeue`` closes it later
        close_when_done(batch_id=batch.pk)


def close_when_done(*, batch_id: str) -> bool:
    """Close the batch unless it is open or has queued images. Return whether this call closed it:
    of several callers, one gets True.
    """
    with database_errors():
        batch = PredictionBatch.objects.filter(pk=batch_id, status__in=UNFINISHED).first()
        if batch is None or batch.sending in ("", Sending.OPEN) or queued_images(batch).exists():
            return False
        refresh_counts(batch)
        unfinished = row_of(batch).filter(status__in=UNFINISHED)
        is_ours = unfinished.update(
            status=Status.DONE if batch.sending == Sending.COMPLETE else Status.FAILED,
            total_images=batch.successful + batch.failed,
            successful=batch.successful,
            failed=batch.failed,
            errors=batch.errors,
            finished_at=now(),
            **webhook_fields(batch),
        )
        if queued_images(batch).exists():  # a part was added at the same moment
            _reopen(batch)
            return False
        _delete_refusals(batch_id)
    return bool(is_ours)


def _reopen(batch: PredictionBatch) -> None:
    row_of(batch).update(
        status=Status.RUNNING,
        total_images=batch.total_images,
        finished_at=None,
        webhook_due_at=None,
    )


def delete_old_refusals() -> None:
    """Delete refused images of closed batches, which a kill may leave. Raises UnavailableError."""
    with database_errors():
        refused = QueuedImage.objects.filter(code__gt="").order_by()
        for batch_id in refused.values_list("batch", flat=True).distinct():
            if not unfinished_batches().filter(pk=batch_id).exists():
                _delete_refusals(batch_id)


def _delete_refusals(batch_id: str) -> None:
    """Delete the refused images of a closed batch: its own record lists them."""
    refused = QueuedImage.objects.filter(batch=batch_id, code__gt="")
    for key in refused.filter(original_image__gt="").values_list("original_image", flat=True):
        delete_files([key])  # a kill between a refusal and the deletion of its file left the file
    refused.delete()


def refresh_counts(batch: PredictionBatch) -> None:
    """Set the counts and errors of a batch from its records, if the batch has queued images and is
    unfinished.
    """
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


def count_queued_images(batch: PredictionBatch) -> int:
    """Return the number of queued images of the batch that are not judged yet."""
    if not batch.sending or batch.finished_at:
        return 0
    with database_errors():
        return queued_images(batch).count()


def count_unfinished_batches() -> int:
    """Return the number of unfinished batches with queued images. Raises UnavailableError."""
    with database_errors():
        return unfinished_batches().count()


def unfinished_batches() -> QuerySet[PredictionBatch]:
    """Return batches that are open or have queued images, oldest first."""
    return (
        PredictionBatch.objects.filter(status__in=UNFINISHED)
        .filter(sending__gt="")
        .order_by("pk")
        .defer("errors")
    )


def close_left_open(*, batch: PredictionBatch) -> None:
    """End an open batch to which nothing was added for a day."""
    if batch.sending == Sending.OPEN and _last_sent(batch) < now() - LEFT_OPEN:
        logger.warning("Batch %s was left open; it is closed.", batch.pk)
        complete_sending(batch=batch, sending=Sending.BROKEN_OFF)


def _last_sent(batch: PredictionBatch) -> datetime:
    newest = QueuedImage.objects.filter(batch=batch.pk).order_by("-batch_index").first()
    if newest is not None:
        return newest.moment
    judged = batch.predictions.order_by("-batch_index").first()
    return judged.created_at if judged else batch.created_at


def queued_images(batch: PredictionBatch) -> QuerySet[QueuedImage]:
    return QueuedImage.objects.filter(batch=batch.pk, code="")


def row_of(batch: PredictionBatch) -> QuerySet[PredictionBatch]:
    return PredictionBatch.objects.filter(pk=batch.pk)
