"""What the project does with images: every entrance (API, batch, folder scan, page) comes here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from detection.apps import get_detector
from detection.d3.errors import D3Error
from detection.heatmaps import OtherModelError, make_heatmap
from detection.judging import DEFAULT_BATCH_SIZE, WORKERS, Job, Outcome, Run, Upload, outcomes_of
from detection.leftovers import delete_files, take_back
from detection.models import Prediction, PredictionBatch, QueuedImage, first_id, now
from detection.records import delete_predictions
from detection.scoring import is_caller_gone
from detection.unavailable import UnavailableError, database_errors

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

    from detection.d3 import Detector


logger = logging.getLogger(__name__)

PURGE_STEP = 200  # predictions that are removed together


def predict_image(
    *,
    upload: Upload,
    source: str,
    owner: AbstractUser | None = None,
    batch: PredictionBatch | None = None,
    threshold: float | None = None,
    store: bool = True,
    explain: bool = False,
) -> Prediction:
    """The verdict on one image, with its files and record unless ``store`` is off, and with its
    heatmap if it is to ``explain``.

    Raises ImageError for an image that cannot be used, D3Error for a detector that cannot,
    and UnavailableError when storage or database is down; none leaves anything behind. When only
    the heatmap fails, or the caller has gone, there is a verdict without it.
    """
    [outcome] = predict_images(
        uploads=[upload], source=source, owner=owner, batch=batch, threshold=threshold, store=store
    )
    if outcome.error is not None:
        raise outcome.error
    if explain and store and not is_caller_gone.get()():  # it is drawn when it is asked for
        _explain(outcome.prediction, upload)
    return outcome.prediction


def predict_images(
    *,
    uploads: Iterable[Upload],
    source: str,
    owner: AbstractUser | None = None,
    batch: PredictionBatch | None = None,
    threshold: float | None = None,
    store: bool = True,
    batch_size: int = DEFAULT_BATCH_SIZE,
    detector: Detector | None = None,
    thumbnails: bool = False,
) -> Iterator[Outcome]:
    """One outcome per upload, in order; ``batch`` is kept current.

    ``batch_size`` images are judged together, and recorded together. ``uploads`` is read lazily,
    and of each picture only what the network sees and a reduced copy stay in memory. Other threads
    decode, draw and store while this one infers; only this one touches the database. An image that
    cannot be used is an outcome; UnavailableError and D3Error end the iteration. Close the iterator
    (``contextlib.closing``) when leaving it early: files and records of images whose outcome nobody
    took are then deleted.

    Bytes that were judged before by the same model keep their score, and are not judged again.
    ``detector`` is the process's own unless another is given.
    """
    run = Run(
        # One for all, also when another is activated meanwhile
        detector=detector or get_detector(),
        source=source,
        owner=owner,
        batch=batch,
        threshold=threshold,
        store=store,
        thumbnails=thumbnails,
    )
    jobs = (Job(index, upload) for index, upload in enumerate(uploads))
    yield from outcomes_of(run, jobs, batch_size=batch_size, workers=WORKERS)


def _explain(prediction: Prediction, upload: Upload) -> None:
    try:
        make_heatmap(prediction=prediction, data=upload.data)
    except (D3Error, OtherModelError, UnavailableError, Prediction.DoesNotExist) as error:
        logger.warning("The heatmap of %s is left for later: %s", prediction.pk, error)


def delete_prediction(*, prediction: Prediction) -> None:
    """Removes a record and its files; files that cannot be deleted now are deleted later.

    Raises UnavailableError without a database; the deletion is then completed when it is back.
    """
    _delete_predictions([prediction])


def _delete_predictions(predictions: list[Prediction]) -> None:
    ids = [prediction.pk for prediction in predictions]
    keys = [key for prediction in predictions for key in prediction.file_keys]
    try:
        with database_errors():
            # A heatmap may have been drawn since they were read.
            deleted = delete_predictions(ids)
            keys = [key for prediction in deleted for key in prediction.file_keys]
    except UnavailableError as error:
        take_back(cause=error, predictions=ids, files=keys)
        raise
    delete_files(keys)


def purge_predictions(*, before: datetime) -> Iterator[int]:
    """Removes the predictions made before that moment with their files, images that have waited
    since then, and batches of that time that have none left. Gives the number of predictions after
    each step.

    Raises UnavailableError; what was removed until then is counted already.
    """
    old = Prediction.objects.filter(created_at__lt=before).order_by("created_at")
    while True:
        with database_errors():
            predictions = list(old[:PURGE_STEP])
        if not predictions:
            break
        _delete_predictions(predictions)
        yield len(predictions)
    _purge_queued(before)
    with database_errors():
        for batch in PredictionBatch.objects.filter(
            created_at__lt=before, finished_at__isnull=False
        ).iterator():
            if not batch.predictions.exists():
                batch.delete()


def _purge_queued(before: datetime) -> None:
    """Images that no worker ever came for; what is judged just now stays."""
    old = QueuedImage.objects.filter(pk__lt=first_id(before)).order_by("pk")
    with database_errors():
        while images := list(old.filter(leased_until__lte=now())[:PURGE_STEP]):
            ids = [image.pk for image in images]
            QueuedImage.objects.filter(pk__in=ids, leased_until__lte=now()).delete()
            kept = {*_ids(QueuedImage, ids), *_ids(Prediction, ids)}  # these need their files
            delete_files(
                [key for image in images if image.pk not in kept for key in image.file_keys]
            )


def _ids(model: type[QueuedImage | Prediction], ids: list[str]) -> Iterable[str]:
    """Those of which there is a record."""
    return model.objects.filter(pk__in=ids).order_by().values_list("pk", flat=True)


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
