"""The functions that judge images. All sources of images call them: API, page, batch, scan."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Required, TypedDict, Unpack

from django.contrib.auth.models import AbstractUser

from detection import d3
from detection.d3.errors import D3Error
from detection.errors import UnavailableError
from detection.judging.active_detector import get_detector
from detection.judging.heatmaps import OtherModelError, open_heatmap
from detection.judging.keepers import DirectKeeper
from detection.judging.pipeline import DEFAULT_BATCH_SIZE, Job, Outcome, Run, Upload
from detection.judging.scoring import is_caller_gone
from detection.models import Prediction, PredictionBatch
from detection.records import close_batch, open_batch, undo_writes

logger = logging.getLogger(__name__)

WORKERS = 2  # threads that decode, draw and store beside inference


class Options(TypedDict, total=False):
    """How images are judged: for whom, by which threshold, by how many of their frames."""

    source: Required[str]
    owner: AbstractUser | None
    threshold: float | None
    all_frames: bool


def predict_image(
    *, upload: Upload, store: bool = True, explain: bool = False, **options: Unpack[Options]
) -> Prediction:
    """Return the verdict on one image. Its files and record are stored unless ``store`` is off;
    ``explain`` stores its heatmap too. With ``all_frames`` up to 32 frames or pages are judged, and
    the verdict is on the one with the highest score.

    Raises ImageError for an unusable image, D3Error for an unusable detector, and UnavailableError
    if storage or database is down; then nothing is stored. If only the heatmap fails, or if the
    caller has hung up, the verdict is stored without a heatmap.
    """
    [outcome] = predict_images(uploads=[upload], store=store, **options)
    if outcome.error is not None:
        raise outcome.error
    if explain and store and not is_caller_gone.get()():  # a later request can draw the heatmap
        _explain(outcome.prediction, upload)
    return outcome.prediction


def predict_images(
    *,
    uploads: Iterable[Upload],
    batch: PredictionBatch | None = None,
    store: bool = True,
    batch_size: int = DEFAULT_BATCH_SIZE,
    detector: d3.Detector | None = None,
    thumbnails: bool = False,
    **options: Unpack[Options],
) -> Iterator[Outcome]:
    """Yield one outcome per upload, in order, and count it in the ``batch``.

    ``batch_size`` images are judged together, and recorded together. ``uploads`` is read lazily,
    and of each picture only what the network sees and a reduced copy stay in memory. Other threads
    decode, draw and store while this one infers; only this one uses the database. An image that
    cannot be used is an outcome; UnavailableError and D3Error end the iteration. Close the iterator
    (``contextlib.closing``) when leaving it early: files and records of images whose outcome was
    not taken are then deleted.

    Bytes that the same model judged before are not judged again: they have the same score.
    ``detector`` is the process's own by default.
    """
    # One detector for all images, even when another is activated meanwhile
    run = Run(
        detector=detector or get_detector(),
        batch=batch,
        keeper=DirectKeeper(batch) if store else None,
        thumbnails=thumbnails,
        **options,
    )
    jobs = (Job(index, upload) for index, upload in enumerate(uploads))
    yield from run.outcomes(jobs, batch_size=batch_size, workers=WORKERS)


def predict_batch(
    *, uploads: list[Upload], store: bool = True, **options: Unpack[Options]
) -> tuple[PredictionBatch, list[Outcome]]:
    """Judge the images of one request. Return the batch, and one outcome per upload in order.

    Raises UnavailableError or D3Error; then no record and no file of the batch is left.
    """
    size, source = len(uploads), options["source"]
    if not store:
        outcomes = predict_images(uploads=uploads, batch_size=size, store=False, **options)
        return _unsaved_batch(source, list(outcomes))
    batch = open_batch(total_images=size, source=source, owner=options.get("owner"))
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(predict_images(uploads=uploads, batch_size=size, batch=batch, **options))
        close_batch(batch=batch)
    except BaseException as error:
        predictions = [outcome.prediction for outcome in outcomes if outcome.prediction]
        undo_writes(cause=error, predictions=predictions, batches=[batch])
        raise
    return batch, outcomes


def _unsaved_batch(source: str, outcomes: list[Outcome]) -> tuple[PredictionBatch, list[Outcome]]:
    batch = PredictionBatch(
        total_images=len(outcomes), source=source, status=PredictionBatch.Status.DONE
    )
    for index, outcome in enumerate(outcomes):
        batch.count(index=index, filename=outcome.upload.filename, error=outcome.error)
    return batch, outcomes


def _explain(prediction: Prediction, upload: Upload) -> None:
    try:
        open_heatmap(prediction=prediction, data=upload.data).close()
    except (D3Error, OtherModelError, UnavailableError, Prediction.DoesNotExist) as error:
        logger.warning("The heatmap of %s was not drawn: %s", prediction.pk, error)
