"""Delete old predictions, queued images and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from detection.errors import database_errors
from detection.models import Prediction, PredictionBatch, QueuedImage, first_id, now
from detection.records import delete_files, delete_with_files

PURGE_STEP = 200  # predictions that are deleted together


def purge_predictions(*, before: datetime) -> Iterator[int]:
    """Delete predictions from before this moment with their files, images that were queued before
    it, and batches from before it that have no predictions left. Yield the number of deleted
    predictions after each step.

    Raises UnavailableError; the numbers until then are right.
    """
    old = Prediction.objects.filter(created_at__lt=before).order_by("created_at")
    while True:
        with database_errors():
            predictions = list(old[:PURGE_STEP])
        if not predictions:
            break
        delete_with_files(predictions)
        yield len(predictions)
    _purge_queued(before)
    with database_errors():
        for batch in PredictionBatch.objects.filter(
            pk__lt=first_id(before), finished_at__isnull=False
        ).iterator():
            if not batch.predictions.exists():
                batch.delete()


def _purge_queued(before: datetime) -> None:
    """Delete old queued images, except those that a worker is judging now."""
    old = QueuedImage.objects.filter(pk__lt=first_id(before)).order_by("pk")
    with database_errors():
        while images := list(old.filter(leased_until__lte=now())[:PURGE_STEP]):
            ids = [image.pk for image in images]
            QueuedImage.objects.filter(pk__in=ids, leased_until__lte=now()).delete()
            kept = {*_ids(QueuedImage, ids), *_ids(Prediction, ids)}  # whose files are needed
            delete_files(
                [key for image in images if image.pk not in kept for key in image.file_keys]
            )


def _ids(model: type[QueuedImage | Prediction], ids: list[str]) -> Iterable[str]:
    """Return those of the ids that have a record."""
    return model.objects.filter(pk__in=ids).order_by().values_list("pk", flat=True)
