"""What the project does with images: every entrance (API, batch, folder scan, page) comes here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from detection.d3.errors import D3Error
from detection.errors import UnavailableError
from detection.judging.detector import get_detector
from detection.judging.heatmaps import OtherModelError, make_heatmap
from detection.judging.pipeline import (
    DEFAULT_BATCH_SIZE,
    WORKERS,
    Job,
    Outcome,
    Run,
    Upload,
    outcomes_of,
)
from detection.judging.scoring import is_caller_gone
from detection.models import Prediction, PredictionBatch

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

    from detection.d3 import Detector


logger = logging.getLogger(__name__)


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
