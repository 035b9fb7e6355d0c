"""A detector's scores on labelled images, as they are and after each perturbation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import D3Error, ImageError
from ..images.decoding import decode_image
from ..runtime.ahead import in_groups, run_ahead
from ..training.dataset import Sample
from .metrics import DRAWS, Measurement, measure
from .perturbation import Perturbation

if TYPE_CHECKING:
    from ..detector import Detector, DetectorInfo

CLEAN = "clean"
BATCH_SIZE = 16  # images that the detector sees at once
WORKERS = 2  # threads that decode and perturb beside inference


class EvaluationError(D3Error):
    """There is nothing to measure."""

    code = "nothing_to_evaluate"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A sample that could not be turned into pixels, and why."""

    sample: Sample
    reason: str


@dataclass(frozen=True, slots=True)
class Condition:
    """The fake ``scores`` of the N samples under one perturbation, and what they are worth."""

    name: str
    scores: np.ndarray  # (N,) float64
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The first condition is the images as they are; all conditions have the same samples."""

    detector: DetectorInfo
    samples: tuple[Sample, ...]
    unreadable: tuple[Unreadable, ...]
    conditions: tuple[Condition, ...]

    @property
    def clean(self) -> Condition:
        return self.conditions[0]

    @property
    def labels(self) -> np.ndarray:
        """(N,), 0 real and 1 fake."""
        return np.array([sample.label for sample in self.samples])

    @property
    def sources(self) -> np.ndarray:
        """(N,) names."""
        return np.array([source_name(sample) for sample in self.samples])


def source_name(sample: Sample) -> str:
    """What to call the sample's source, also in a data set without sources."""
    return sample.source or "all"


def evaluate(
    *,
    detector: Detector,
    samples: Iterable[Sample],
    perturbations: Sequence[Perturbation] = (),
    batch_size: int = BATCH_SIZE,
    draws: int = DRAWS,
) -> Evaluation:
    """Score every sample under every condition, and measure the scores.

    Each file is decoded once, in other threads, a little ahead of the detector. A sample that
    cannot be read, or perturbed, is listed as unreadable and counts nowhere. Raises
    EvaluationError when no sample is left.
    """
    readable: list[Sample] = []
    unreadable: list[Unreadable] = []
    scores: list[float] = []
    names = [CLEAN, *(perturbation.name for perturbation in perturbations)]
    with closing(_read_ahead(samples, perturbations, batch_size)) as readings:
        views = _readable_views(readings, readable, unreadable)
        for group in in_groups(views, batch_size):
            scores.extend(verdict.fake_score for verdict in detector.detect(group))
    if not readable:
        raise EvaluationError(f"None of the {len(unreadable)} images could be read.")

    by_condition = np.array(scores).reshape(len(readable), len(names)).T
    return Evaluation(
        detector=detector.info,
        samples=tuple(readable),
        unreadable=tuple(unreadable),
        conditions=tuple(
            Condition(name, own, _measure(own, readable, detector.info, draws))
            for name, own in zip(names, by_condition, strict=True)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """A sample as it is and after each perturbation, or the error that prevented it."""

    sample: Sample
    views: tuple[Image.Image, ...] = ()
    error: ImageError | None = None


def _read_ahead(
    samples: Iterable[Sample], perturbations: Sequence[Perturbation], batch_size: int
) -> Iterator[_Reading]:
    """Readings in the order of the samples, of about ``batch_size`` views at a time."""
    ahead = max(WORKERS, batch_size // (1 + len(perturbations)))
    step = partial(_read, perturbations)
    with (
        ThreadPoolExecutor(WORKERS) as threads,
        closing(run_ahead(threads, step, samples, ahead=ahead)) as readings,
    ):
        yield from readings


def _read(perturbations: Sequence[Perturbation], sample: Sample) -> _Reading:
    try:
        image = decode_image(sample.path).pixels
        return _Reading(sample, (image, *(perturb(image) for perturb in perturbations)))
    except ImageError as error:
        return _Reading(sample, error=error)


def _readable_views(
    readings: Iterable[_Reading], readable: list[Sample], unreadable: list[Unreadable]
) -> Iterator[Image.Image]:
    """The views of all readings, one after the other; each sample is entered into its list."""
    for reading in readings:
        if reading.error is None:
            readable.append(reading.sample)
            yield from reading.views
        else:
            unreadable.append(Unreadable(reading.sample, str(reading.error)))


def _measure(
    scores: np.ndarray, samples: Sequence[Sample], detector: DetectorInfo, draws: int
) -> Measurement:
    return measure(
        scores=scores,
        labels=[sample.label for sample in samples],
        sources=[source_name(sample) for sample in samples],
        threshold=detector.threshold,
        uncertain=detector.uncertain,
        draws=draws,
    )
