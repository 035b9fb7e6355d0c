"""Measure the faithfulness of evidence maps: whether their most important places matter most.

Deletion (Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has Learned",
IEEE TNNLS 2017): the fifth of an image that pushed most towards its verdict is masked. The logit
should then move towards 0 much further than with a random fifth masked.

A mask has traces of its own: grey squares have sharp edges and no noise. So the main mask is a
strong blur with soft edges, which removes all fine traces and adds none. The mean colour with hard
edges is measured for comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from detection.d3 import Detector, DetectorInfo
from detection.d3.dataset import Sample
from detection.d3.errors import EvaluationError, ImageError
from detection.d3.evaluation import DRAWS, INTERVAL, Estimate, Unreadable
from detection.d3.images import decode_image
from detection.d3.text_table import text_table

SHARE = 0.2  # of the cells are masked
RANDOM_MASKS = 4  # per image; their mean counts
BLUR = 8.0  # sigma in pixels; removes traces that repeat every 8 pixels or fewer
FEATHER = 2.0  # sigma of the mask's edges in pixels


@dataclass(frozen=True, slots=True)
class Movement:
    """The movements of the logits of N images towards 0 or beyond, under one kind of mask."""

    mask: str
    important: np.ndarray  # (N,) with the most important cells masked
    random: np.ndarray  # (N,) the mean over random cells


@dataclass(frozen=True, slots=True)
class Comparison:
    """Median movements of the images with one verdict, and their ratios to random masks."""

    mask: str
    verdict: str  # "all", "FAKE" or "REAL"
    images: int
    important: Estimate
    random: Estimate
    ratio_of_medians: Estimate
    ratio_of_means: Estimate


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """The logits (N,) of the readable images, and their movements under the masks."""

    detector: DetectorInfo
    logits: np.ndarray
    movements: tuple[Movement, ...]
    unreadable: tuple[Unreadable, ...]


def draw_samples(samples: Sequence[Sample], limit: int | None, *, seed: int = 0) -> list[Sample]:
    """Choose ``limit`` random samples, or all without a limit; their order does not change."""
    drawn = np.random.default_rng(seed).permutation(len(samples))[:limit]
    return [samples[index] for index in sorted(drawn)]


def measure_faithfulness(
    *, detector: Detector, samples: Iterable[Sample], seed: int = 0
) -> Faithfulness:
    """Mask the important and the random cells of every sample, under every kind of mask.

    The verdict of an image is the sign of its logit. Raises EvaluationError when no sample can be
    read.
    """
    logits: list[float] = []
    moved: list[np.ndarray] = []  # (masks, 1 + RANDOM_MASKS) each
    unreadable: list[Unreadable] = []
    for number, sample in enumerate(samples):
        try:
            image = decode_image(sample.path).pixels
        except ImageError as error:
            unreadable.append(Unreadable(sample, str(error)))
            continue
        logit, movements = _movements(detector, image, np.random.default_rng((seed, number)))
        logits.append(logit)
        moved.append(movements)
    if not logits:
        raise EvaluationError(f"None of the {len(unreadable)} images could be read.")
    by_mask = np.stack(moved, axis=1)  # (masks, N, 1 + RANDOM_MASKS)
    return Faithfulness(
        detector=detector.info,
        logits=np.array(logits),
        movements=tuple(
            Movement(mask, important=own[:, 0], random=own[:, 1:].mean(axis=1))
            for mask, own in zip(MASKS, by_mask, strict=True)
        ),
        unreadable=tuple(unreadable),
    )


def compare(measured: Faithfulness, *, seed: int = 0) -> list[Comparison]:
    """Compare the movements per mask: of all images, then of those with each verdict.

    The 95 % intervals are bootstrapped over the images.
    """
    verdicts = {
        "all": np.full(len(measured.logits), fill_value=True),
        "FAKE": measured.logits > 0,
        "REAL": measured.logits <= 0,
    }
    return [
        _comparison(movement, verdict, own, np.random.default_rng(seed))
        for movement in measured.movements
        for verdict, own in verdicts.items()
        if own.any()
    ]


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as text, one line each."""
    heads = ("important", "random", "ratio of medians", "ratio of means")
    rows = [("mask", "verdict", "images", *heads)]
    for each in comparisons:
        estimates = (each.important, each.random, each.ratio_of_medians, each.ratio_of_means)
        cells = map(_with_interval, estimates)
        rows.append((each.mask, each.verdict, str(each.images), *cells))
    return text_table(rows, left=2)


def blurred(image: Image.Image, cells: np.ndarray) -> Image.Image:
    """Blur the image strongly, with soft edges, in its map's true ``cells`` (rows, columns)."""
    mask = _pixel_mask(cells, image.size).filter(ImageFilter.GaussianBlur(FEATHER))
    return Image.composite(image.filter(ImageFilter.GaussianBlur(BLUR)), image, mask)


def mean_coloured(image: Image.Image, cells: np.ndarray) -> Image.Image:
    """Paint the image's mean colour over its map's true ``cells`` (rows, columns)."""
    colour = tuple(np.asarray(image).mean(axis=(0, 1)).round().astype(int).tolist())
    flat = Image.new("RGB", image.size, colour)
    return Image.composite(flat, image, _pixel_mask(cells, image.size))


MASKS: dict[str, Callable[[Image.Image, np.ndarray], Image.Image]] = {
    "blur": blurred,
    "mean colour": mean_coloured,
}


def most_important(evidence: np.ndarray, sign: float) -> np.ndarray:
    """Select the cells of a map that pushed most towards ``sign``, bool (rows, columns)."""
    pushes = np.nan_to_num(sign * evidence, nan=-np.inf).ravel()
    return _selection(np.argsort(-pushes, kind="stable"), evidence)


def random_cells(evidence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Select as many random cells as ``most_important`` does, among those with evidence."""
    return _selection(rng.permutation(np.flatnonzero(np.isfinite(evidence))), evidence)


def _movements(
    detector: Detector, image: Image.Image, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Return the image's logit, and its movements towards 0, (masks, 1 + RANDOM_MASKS)."""
    evidence = detector.explain(image)
    sign = 1.0 if evidence.logit > 0 else -1.0
    chosen = [most_important(evidence.map, sign)]
    chosen += [random_cells(evidence.map, rng) for _ in range(RANDOM_MASKS)]
    masked = (mask(image, cells) for mask in MASKS.values() for cells in chosen)
    original, *logits = detector.logits([image, *masked]).astype(float)
    return original, sign * (original - np.reshape(logits, (len(MASKS), len(chosen))))


def _selection(order: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Select the first ``SHARE`` of the finite cells in the ``order`` of flat indices."""
    selected = np.zeros(evidence.size, dtype=bool)
    selected[order[: max(1, round(SHARE * np.isfinite(evidence).sum()))]] = True
    return selected.reshape(evidence.shape)


def _pixel_mask(cells: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a mask of the image's ``size`` (width, height), white in the true cells."""
    return Image.fromarray(cells.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)


def _comparison(
    movement: Movement, verdict: str, own: np.ndarray, rng: np.random.Generator
) -> Comparison:
    important, random = movement.important[own], movement.random[own]
    drawn = rng.integers(len(important), size=(DRAWS, len(important)))  # (draws, N)
    values, samples = _statistics(important, random), _statistics(important[drawn], random[drawn])
    bounds = np.percentile(samples, INTERVAL, axis=1, method="nearest")  # some are infinite
    estimates = [Estimate(*map(float, each)) for each in zip(values, *bounds, strict=True)]
    return Comparison(movement.mask, verdict, len(important), *estimates)


def _statistics(important: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return both medians, their ratio and that of the means, over the last axis; (4, …).

    A ratio is infinite if random cells did not move the logits towards 0 at all.
    """
    medians = np.median(important, axis=-1), np.median(random, axis=-1)
    means = important.mean(axis=-1), random.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [
            np.where(random > 0, important / random, np.copysign(np.inf, important))
            for important, random in (medians, means)
        ]
    return np.stack([*medians, *ratios])


def _with_interval(estimate: Estimate) -> str:
    value, low, high = (
        f"{each:.2f}".replace("inf", "∞") for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
