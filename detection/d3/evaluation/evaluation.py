"""Evaluate a detector on labelled images, unchanged and after each perturbation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..dataset import Sample
from ..errors import EvaluationError, ImageError
from ..images import decode_image
from ..prefetching import in_groups, run_ahead
from .metrics import Measurement, measure
from .perturbations import Perturbation

if TYPE_CHECKING:
    from ..detector import Detector, DetectorInfo

CLEAN = "clean"
BATCH_SIZE = 16  # images in one call of the detector
WORKERS = 2  # threads that decode and perturb images during inference


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A sample that could not be turned into pixels, and the reason."""

    sample: Sample
    reason: str


@dataclass(frozen=True, slots=True)
class Condition:
    """The fake ``scores`` of the N samples under one perturbation, and their metrics."""

    name: str
    scores: np.ndarray  # (N,) float64
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A detector's scores of the samples under all conditions; the first changes no image."""

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
    """Return the name of the sample's source, or "all" in a data set without sources."""
    return sample.source or "all"


def evaluate(
    *,
    detector: Detector,
    samples: Iterable[Sample],
    perturbations: Sequence[Perturbation] = (),
    batch_size: int = BATCH_SIZE,
) -> Evaluation:
    """Score every sample under every condition, and measure the scores.

    Other threads decode each file once, a little ahead of the detector. A sample that cannot be
    read or perturbed is listed as unreadable, and counts in no metric. Raises EvaluationError if no
    sample is left.
    """
    readable: list[Sample] = []
    unreadable: list[Unreadable] = []
    scores: list[float] = []
    names = [CLEAN, *(perturbation.name for perturbation in perturbations)]
    with closing(_read_ahead(samples, perturbations, batch_size)) as readings:
        images = _readable_images(readings, readable, unreadable)
        for group in in_groups(images, batch_size):
            scores.extend(verdict.fake_score for verdict in detector.detect(group))
    if not readable:
        raise EvaluationError(f"None of the {len(unreadable)} images could be read.")

    measured = partial(
        measure,
        labels=[sample.label for sample in readable],
        sources=[source_name(sample) for sample in readable],
        threshold=detector.info.threshold,
        uncertain=detector.info.uncertain,
    )
    by_condition = np.array(scores).reshape(len(readable), len(names)).T
    return Evaluation(
        detector=detector.info,
        samples=tuple(readable),
        unreadable=tuple(unreadable),
        conditions=tuple(
            Condition(name, own, measured(scores=own))
            for name, own in zip(names, by_condition, strict=True)
        ),
    )


# A sample, and its images under all conditions, or the error that prevented them
_Reading = tuple[Sample, tuple[Image.Image, ...] | ImageError]


def _read_ahead(
    samples: Iterable[Sample], perturbations: Sequence[Perturbation], batch_size: int
) -> Iterator[_Reading]:
    """Yield readings in the order of the samples, about ``batch_size`` images ahead."""
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
        return sample, (image, *(perturb(image) for perturb in perturbations))
    except ImageError as error:
        return sample, error


def _readable_images(
    readings: Iterable[_Reading], readable: list[Sample], unreadable: list[Unreadable]
) -> Iterator[Image.Image]:
    """Yield the images of all readings, and append each sample to one of the two lists."""
    for sample, images in readings:
        if isinstance(images, ImageError):
            unreadable.append(Unreadable(sample, str(images)))
        else:
            readable.append(sample)
            yield from images
