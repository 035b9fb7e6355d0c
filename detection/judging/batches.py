"""Several images in one request, judged at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detection.judging.predict import Outcome, Upload, predict_images
from detection.models import PredictionBatch
from detection.records import close_batch, open_batch, take_back

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


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
    batch = PredictionBatch(
        total_images=len(uploads), source=source, status=PredictionBatch.Status.DONE
    )
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
