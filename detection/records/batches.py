"""The record of a batch: opened when a run starts, closed when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detection.errors import UnavailableError, database_errors
from detection.models import PredictionBatch, now
from detection.records.undoing import take_back

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


def open_batch(
    *,
    total_images: int,
    source: str,
    owner: AbstractUser | None = None,
    **fields: object,
) -> PredictionBatch:
    """The record of a run that starts now, unless the other ``fields`` say that it waits."""
    status = PredictionBatch.Status.RUNNING
    batch = PredictionBatch(
        total_images=total_images, source=source, owner=owner, **{"status": status, **fields}
    )
    try:
        with database_errors():
            batch.save(force_insert=True)
    except UnavailableError as error:
        take_back(cause=error, batches=[batch.pk])
        raise
    return batch


def close_batch(
    *, batch: PredictionBatch, status: PredictionBatch.Status = PredictionBatch.Status.DONE
) -> None:
    """The run has ended: ``done`` when each image was tried, ``failed`` when it broke off."""
    with database_errors():
        # Counted again: an interrupt may have fallen between a record and its count.
        batch.successful = batch.predictions.count()
        batch.status = status
        batch.finished_at = now()
        batch.save(update_fields=["successful", "failed", "errors", "status", "finished_at"])
