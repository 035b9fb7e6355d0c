"""Metrics of scores: of each source, their mean, and of all images, with 95 % intervals.

A source may have images of one class only. If it has only fakes, these are compared with the real
images of all sources. If it has only real images, only the share of right verdicts is measured.

Intervals are percentiles over the bootstrap: each draw replaces every image by a random image of
the same source and class (Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of
Statistics 1979). Resampling increases the calibration error, so its interval may lie above its
value. Shares of images of one class have Wilson's interval, which holds for few images too.

Letters in the shape comments: D draws, N images, R real and F fake ones, B bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.stats import binomtest, rankdata

from ..dataset import FAKE, REAL
from ..verdict import uncertain_band

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
CALIBRATION_BINS = 15
POOLED = "pooled"  # the name of all sources together
MIN_IMAGES = 8  # a source with fewer images of one of its classes does not count in the mean

_ALONE = {REAL: {"accuracy_real"}, FAKE: {"accuracy_fake", "auc"}}  # metrics of one class
_BLOCK = 4_000_000  # scores in one block of draws, which bounds the memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def complement(self) -> Estimate:
        """Return the estimate of one minus this share."""
        return Estimate(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of some images. One that the images do not define is None, as the AUC of one class.

    ``auc`` and ``average_precision`` judge the order of the scores, fake being positive; the
    accuracies judge the verdicts at a threshold; ``brier`` and ``calibration_error`` (expected,
    of the fake score, over 15 equal bins) judge the scores as probabilities: lower is better.
    """

    average_precision: Estimate | None
    auc: Estimate | None
    accuracy: Estimate | None
    accuracy_real: Estimate | None
    accuracy_fake: Estimate | None
    balanced_accuracy: Estimate | None
    brier: Estimate | None
    calibration_error: Estimate | None


METRICS = tuple(field.name for field in fields(Metrics))


@dataclass(frozen=True, slots=True)
class SourceMetrics:
    """The metrics of one source of images, and how many of them are real and fake."""

    source: str
    real: int
    fake: int
    metrics: Metrics

    @property
    def images(self) -> int:
        return self.real + self.fake


@dataclass(frozen=True, slots=True)
class Certainty:
    """The share of images outside the uncertain band, and the accuracy of their verdicts."""

    share: Estimate
    accuracy: Estimate | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The metrics of each source, their mean, and those of all images ``pooled``.

    The mean of a metric is over the sources that define it and have at least ``MIN_IMAGES`` images
    of each of their classes. If no source has so many, it is over all that define it. ``averaged``
    is the number of sources in the mean AUC.
    """

    sources: tuple[SourceMetrics, ...]
    mean: Metrics
    averaged: int
    pooled: SourceMetrics
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images with similar fake scores: their mean score and the share that really are fake."""

    images: int
    mean_score: float
    fake_share: float


def measure(
    *,
    scores: Sequence[float],
    labels: Sequence[int],
    sources: Sequence[str],
    threshold: float,
    uncertain: tuple[float, float],
    draws: int = DRAWS,
) -> Measurement:
    """Measure fake ``scores`` (0..1) against ``labels`` (0 real, 1 fake), all of length N.

    A score above ``threshold`` is the verdict "fake"; it is uncertain between the two ends of
    ``uncertain``, both included. Each draw has as many real and fake images of each source as there
    are.
    """
    scores, labels, sources = np.asarray(scores, float), np.asarray(labels), np.asarray(sources)
    names = sorted(set(sources.tolist()))
    measured = [_Source(name, sources == name, labels) for name in names]
    pooled = _Source(POOLED, np.ones(len(labels), bool), labels)
    resampled = _resampled(scores, labels, sources, draws, np.random.default_rng(0))
    for block in (scores[None], *resampled):
        for source in (*measured, pooled):
            source.add(block, labels, threshold)
    return Measurement(
        sources=tuple(source.metrics(scores, labels, threshold) for source in measured),
        mean=_mean(measured),
        averaged=len(_averaged(measured, "auc")),
        pooled=pooled.metrics(scores, labels, threshold),
        certainty=_certainty(scores, labels, threshold, uncertain),
    )


def share(hits: np.ndarray) -> Estimate:
    """Return the share of ``hits`` (N,) that are true, with Wilson's interval; N is at least 1."""
    interval = binomtest(int(hits.sum()), hits.size).proportion_ci(0.95, "wilson")
    return Estimate(float(hits.mean()), float(interval.low), float(interval.high))


def reliability_bins(scores: Sequence[float], labels: Sequence[int]) -> list[ReliabilityBin]:
    """Return the bins of the calibration error that have images, lowest scores first."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    bins = _bins(scores)
    return [
        ReliabilityBin(int(own.sum()), float(scores[own].mean()), float(labels[own].mean()))
        for own in (bins == number for number in np.unique(bins))
    ]


class _Source:
    """The images of one source and the values of their metrics: of the scores, then of draws."""

    def __init__(self, name: str, own: np.ndarray, labels: np.ndarray) -> None:
        """``own`` (N,) bool selects the images of the source among all."""
        self.name = name
        self.own = own
        self.real, self.fake = (int((own & (labels == label)).sum()) for label in (REAL, FAKE))
        self.compared = own if self.real else own | (labels == REAL)
        both = self.real and self.fake
        self.defined = set(METRICS) if both else _ALONE[REAL if self.real else FAKE]
        self.is_large = all(count >= MIN_IMAGES for count in (self.real, self.fake) if count)
        self.values: dict[str, np.ndarray] = {}  # (1 + D,) each

    def add(self, scores: np.ndarray, labels: np.ndarray, threshold: float) -> None:
        """Append the metrics of each row of ``scores`` (rows, N)."""
        found = _values(scores[:, self.compared], labels[self.compared], threshold)
        for name in self.defined & found.keys():
            before = self.values.get(name, np.empty(0))
            self.values[name] = np.concatenate([before, found[name]])

    def metrics(self, scores: np.ndarray, labels: np.ndarray, threshold: float) -> SourceMetrics:
        hits = (scores > threshold) == labels
        classes = {"accuracy_real": labels == REAL, "accuracy_fake": labels == FAKE}
        shares = {
            name: share(hits[self.own & of_class])
            for name, of_class in classes.items()
            if (self.own & of_class).any()
        }
        metrics = replace(_estimated(self.values), **shares)
        return SourceMetrics(self.name, self.real, self.fake, metrics)


def _certainty(
    scores: np.ndarray, labels: np.ndarray, threshold: float, uncertain: tuple[float, float]
) -> Certainty:
    low, high = uncertain_band(uncertain, threshold)
    outside = (scores < low) | (scores > high)
    hits = ((scores > threshold) == labels)[outside]
    return Certainty(share(outside), share(hits) if hits.size else None)


def _estimated(values: Mapping[str, np.ndarray]) -> Metrics:
    """Turn values (1 + D,), first that of the scores, then those of the draws, into estimates."""

    def estimate(name: str) -> Estimate | None:
        if name not in values:
            return None
        value, *drawn = values[name].tolist()
        return Estimate(value, *np.percentile(drawn, INTERVAL).tolist())

    return Metrics(**{name: estimate(name) for name in METRICS})


def _mean(measured: Sequence[_Source]) -> Metrics:
    counted = {name: _averaged(measured, name) for name in METRICS}
    return _estimated(
        {
            name: np.mean([source.values[name] for source in sources], axis=0)
            for name, sources in counted.items()
            if sources
        }
    )


def _averaged(measured: Sequence[_Source], name: str) -> list[_Source]:
    """Return the sources that count in the mean of a metric."""
    having = [source for source in measured if name in source.values]
    return [source for source in having if source.is_large] or having


def _resampled(
    scores: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yield blocks (rows, N) with ``draws`` rows in all.

    A row is a draw: each score is replaced by one of the same source and class.
    """
    kinds = [(sources == name) & (labels == label) for name in set(sources) for label in (0, 1)]
    groups = [np.flatnonzero(kind) for kind in kinds if kind.any()]
    size = max(1, _BLOCK // len(scores))
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        block = np.empty((rows, len(scores)))
        for own in sorted(groups, key=min):
            block[:, own] = rng.choice(scores[own], (rows, own.size))
        yield block


def _values(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Return the metrics of each row of ``scores`` (D, N) for ``labels`` (N,), (D,) each."""
    real, fake = scores[:, labels == REAL], scores[:, labels == FAKE]
    found = {}
    if real.size:
        found["accuracy_real"] = (real <= threshold).mean(axis=1)
    if fake.size:
        found["accuracy_fake"] = (fake > threshold).mean(axis=1)
    if real.size and fake.size:
        found["accuracy"] = ((scores > threshold) == labels).mean(axis=1)
        found["balanced_accuracy"] = (found["accuracy_real"] + found["accuracy_fake"]) / 2
        found["brier"] = ((scores - labels) ** 2).mean(axis=1)
        found["calibration_error"] = _calibration_errors(scores, labels)
        found["average_precision"], found["auc"] = _ranking(real, fake)
    return found


def _ranking(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return average precision and area under the ROC curve of scores (D, R) and (D, F).

    The precision at a fake is the share of fakes among the images of at least its score. The area
    is the statistic of Mann and Whitney.
    """
    both = np.concatenate([fake, real], axis=1)
    fakes = fake.shape[1]
    hits = rankdata(-fake, "max", axis=1)
    above = rankdata(-both, "max", axis=1)[:, :fakes]
    ranks = rankdata(both, axis=1)[:, :fakes]
    area = (ranks.mean(axis=1) - (fakes + 1) / 2) / real.shape[1]
    return (hits / above).mean(axis=1), area


def _calibration_errors(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return |share of fakes − mean score| of each row, averaged over the bins' images, (D,)."""
    draws, images = scores.shape
    cells = _bins(scores) + CALIBRATION_BINS * np.arange(draws)[:, None]
    gaps = np.bincount(cells.ravel(), (labels - scores).ravel(), CALIBRATION_BINS * draws)
    return np.abs(gaps).reshape(draws, CALIBRATION_BINS).sum(axis=1) / images


def _bins(scores: np.ndarray) -> np.ndarray:
    """Return the number of each score's bin; bins include their upper edge."""
    return np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], scores)
