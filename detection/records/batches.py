"""The record of a batch: opened when a run starts, closed when it ends."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser

from detection.errors import UnavailableError, database_errors
from detection.models import PredictionBatch, now
from detection.records.undoing import undo_writes

Status = PredictionBatch.Status


def open_batch(
    *,
    total_images: int,
    source: str,
    owner: AbstractUser | None = None,
    status: str = Status.RUNNING,
    **fields: object,
) -> PredictionBatch:
    """Write the record of a run, which starts now unless it has another ``status``.

    Raises UnavailableError; then there is no record.
    """
    batch = PredictionBatch(
        total_images=total_images, source=source, owner=owner, status=status, **fields
    )
    try:
        with database_errors():
            batch.save(force_insert=True)
    except UnavailableError as error:
        undo_writes(cause=error, batches=[batch])
        raise
    return batch


def close_batch(*, batch: PredictionBatch, status: str = Status.DONE) -> None:
    """Record the end of a run: ``done`` if all images were tried, ``failed`` otherwise."""
    with database_errors():
        # Counted again, since after a record an interrupt may have prevented its count.
        batch.successful = batch.predictions.count()
        batch.status = status
        batch.finished_at = now()
        batch.save(update_fields=["successful", "failed", "errors", "status", "finished_at"])
