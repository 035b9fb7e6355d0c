"""How good are scores? Metrics per source, their mean and those of all images, with 95 % intervals.

A source may have images of one class alone. Fakes alone are compared with the real images of all
sources; real images alone tell how many of them are called fake.

Values come from scikit-learn. Intervals are percentiles over resampled images: a draw is a row of
counts, how often it took each image, and all draws are measured at once as weighted metrics.
The calibration error grows with every resampling, so its interval may lie above its value.
Shares of one class of images have Wilson's interval, which also holds for few of them.

Letters in the shape comments: D draws, N images, T distinct scores, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from ..dataset import FAKE, REAL

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
CALIBRATION_BINS = 15
POOLED = "pooled"  # what the images of all sources together are called
MIN_IMAGES = 8  # of each class that a source has, for the source to count in the mean

_ALONE = {REAL: {"accuracy_real"}, FAKE: {"accuracy_fake", "auc"}}  # metrics of one class
_BLOCK = 4_000_000  # counts of one block of draws, which bounds the memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def complement(self) -> Estimate:
        """The estimate of all but this share."""
        return Estimate(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True, slots=True)
class Metrics:
    """None is a metric that the images at hand do not define, such as the AUC of one class.

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
    """``share`` of the images lies outside the uncertain band, ``accuracy`` is that of them."""

    share: Estimate
    accuracy: Estimate | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The metrics of each source, their mean, and those of all images ``pooled``.

    The mean of a metric is over the sources that define it and have at least ``MIN_IMAGES`` images
    of each of their classes, or over all that define it where none has so many. ``averaged`` is the
    number of sources in the mean AUC.
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
    seed: int = 0,
) -> Measurement:
    """Metrics of fake ``scores`` (0..1) against ``labels`` (0 real, 1 fake), all of length N.

    A score above ``threshold`` is the verdict "fake"; it is uncertain between the two ends of
    ``uncertain``, both included. Draws keep the number of real and of fake images of each source.
    """
    scores, labels, sources = np.asarray(scores, float), np.asarray(labels), np.asarray(sources)
    counts = _resample(labels, sources, draws, np.random.default_rng(seed))
    data = scores, labels, threshold, counts
    measured = [_measure(name, sources == name, *data) for name in sorted(set(sources.tolist()))]
    pooled = _measure(POOLED, np.ones(len(labels), bool), *data)
    return Measurement(
        sources=tuple(each.metrics for each in measured),
        mean=_mean(measured),
        averaged=len(_averaged(measured, "auc")),
        pooled=pooled.metrics,
        certainty=_certainty(scores, labels, threshold, uncertain),
    )


def share(hits: np.ndarray) -> Estimate:
    """The share of ``hits`` (N,) that are true, with Wilson's interval; N is at least 1."""
    interval = binomtest(int(hits.sum()), hits.size).proportion_ci(0.95, "wilson")
    return Estimate(float(hits.mean()), float(interval.low), float(interval.high))


def reliability_bins(scores: Sequence[float], labels: Sequence[int]) -> list[ReliabilityBin]:
    """The bins of the calibration error that hold images, lowest scores first."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    members = _bin_membership(scores).T.astype(bool)  # (B, N)
    return [
        ReliabilityBin(int(own.sum()), float(scores[own].mean()), float(labels[own].mean()))
        for own in members
        if own.any()
    ]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A source's metrics, and their ``values`` alone and of each draw, (D,)."""

    metrics: SourceMetrics
    values: dict[str, float]
    drawn: dict[str, np.ndarray]

    @property
    def is_large(self) -> bool:
        classes = self.metrics.real, self.metrics.fake
        return all(images >= MIN_IMAGES for images in classes if images)


def _measure(
    source: str,
    own: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    counts: np.ndarray,
) -> _Measured:
    """Measure the source with the ``own`` images, (N,) bool, of all."""
    real, fake = (int((own & (labels == label)).sum()) for label in (REAL, FAKE))
    compared = own if real else own | (labels == REAL)
    defined = set(METRICS) if real and fake else _ALONE[REAL if real else FAKE]
    data = scores[compared], labels[compared], threshold
    values, drawn, shares = (
        {name: value for name, value in found.items() if name in defined}
        for found in (_values(*data), _bootstrap(*data, counts[:, compared]), _class_shares(*data))
    )
    metrics = replace(_metrics(values, drawn), **shares)
    return _Measured(SourceMetrics(source, real, fake, metrics), values, drawn)


def _class_shares(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, Estimate]:
    """The accuracies of the classes that are there."""
    hits = (scores > threshold) == labels
    classes = (("accuracy_real", labels == REAL), ("accuracy_fake", labels == FAKE))
    return {name: share(hits[own]) for name, own in classes if own.any()}


def _certainty(
    scores: np.ndarray, labels: np.ndarray, threshold: float, uncertain: tuple[float, float]
) -> Certainty:
    low, high = min(uncertain[0], threshold), max(uncertain[1], threshold)  # as of a Verdict
    outside = (scores < low) | (scores > high)
    hits = ((scores > threshold) == labels)[outside]
    return Certainty(share(outside), share(hits) if hits.size else None)


def _metrics(values: Mapping[str, float], drawn: Mapping[str, np.ndarray]) -> Metrics:
    def estimate(name: str) -> Estimate | None:
        if name not in values:
            return None
        low, high = np.percentile(drawn[name], INTERVAL)
        return Estimate(float(values[name]), float(low), float(high))

    return Metrics(**{name: estimate(name) for name in METRICS})


def _mean(measured: Sequence[_Measured]) -> Metrics:
    values, drawn = {}, {}
    for name in METRICS:
        if counted := _averaged(measured, name):
            values[name] = np.mean([each.values[name] for each in counted])
            drawn[name] = np.mean([each.drawn[name] for each in counted], axis=0)
    return _metrics(values, drawn)


def _averaged(measured: Sequence[_Measured], name: str) -> list[_Measured]:
    """The sources that count in the mean of a metric."""
    having = [each for each in measured if name in each.values]
    return [each for each in having if each.is_large] or having


def _values(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics of one source that its labels define."""
    verdicts = (scores > threshold).astype(int)
    hits = verdicts == labels
    found = {
        "accuracy": sklearn_metrics.accuracy_score(labels, verdicts),
        "brier": sklearn_metrics.brier_score_loss(labels, scores, pos_label=1),
        "calibration_error": _calibration_errors(scores, labels, np.ones((1, len(scores))))[0],
    }
    for name, label in (("accuracy_real", 0), ("accuracy_fake", 1)):
        if (labels == label).any():
            found[name] = hits[labels == label].mean()
    if {0, 1} <= set(labels.tolist()):
        found["average_precision"] = sklearn_metrics.average_precision_score(labels, scores)
        found["auc"] = sklearn_metrics.roc_auc_score(labels, scores)
        found["balanced_accuracy"] = sklearn_metrics.balanced_accuracy_score(labels, verdicts)
    return found


def _bootstrap(
    scores: np.ndarray, labels: np.ndarray, threshold: float, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of each row of (D, N) ``counts``, (D,) each."""
    rows = max(1, _BLOCK // len(labels))
    blocks = [
        _weighted(scores, labels, threshold, counts[start : start + rows].astype(float))
        for start in range(0, len(counts), rows)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _resample(
    labels: np.ndarray, sources: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """(D, N) counts; those of each class of a source add up to its number of images.

    One draw serves every source, so that fakes of several are compared with the same real images.
    """
    counts = np.zeros((draws, len(labels)), np.uint16)
    for source in sorted(set(sources.tolist())):
        for label in (REAL, FAKE):
            own = np.flatnonzero((sources == source) & (labels == label))
            rows = max(1, _BLOCK // max(1, own.size))
            for start in range(0, draws if own.size else 0, rows):
                chances = np.full(own.size, 1 / own.size)
                block = rng.multinomial(own.size, chances, size=min(rows, draws - start))
                counts[start : start + rows, own] = block
    return counts


def _weighted(
    scores: np.ndarray, labels: np.ndarray, threshold: float, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of ``_values`` for each row of (D, N) ``counts``, (D,) each."""
    images = counts.sum(axis=1)
    hits = (scores > threshold) == labels
    found = {
        "accuracy": counts @ hits / images,
        "brier": counts @ (scores - labels) ** 2 / images,
        "calibration_error": _calibration_errors(scores, labels, counts),
    }
    for name, own in (("accuracy_real", labels == 0), ("accuracy_fake", labels == 1)):
        if own.any():
            found[name] = counts @ (hits & own) / own.sum()
    if "accuracy_real" in found and "accuracy_fake" in found:
        found["balanced_accuracy"] = (found["accuracy_real"] + found["accuracy_fake"]) / 2
        found["average_precision"], found["auc"] = _ranking(scores, labels, counts)
    return found


def _ranking(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and area under the ROC curve of each draw, equal scores being one step."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # (T,) last of each score
    hits = np.cumsum(counts[:, order] * (labels[order] == 1), axis=1)[:, ends]  # (D, T)
    alarms = np.cumsum(counts[:, order] * (labels[order] == 0), axis=1)[:, ends]
    new_hits = np.diff(hits, axis=1, prepend=0)
    new_alarms = np.diff(alarms, axis=1, prepend=0)
    precision = hits / np.maximum(hits + alarms, 1)  # no image yet: no new hit either
    average_precision = (new_hits * precision).sum(axis=1) / hits[:, -1]
    area = (new_alarms * (hits - new_hits / 2)).sum(axis=1)
    return average_precision, area / (hits[:, -1] * alarms[:, -1])


def _calibration_errors(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """|share of fakes − mean score|, averaged over the bins by their images, for each draw."""
    gaps = _bin_membership(scores) * (labels - scores)[:, None]  # (N, B)
    return np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1)


def _bin_membership(scores: np.ndarray) -> np.ndarray:
    """(N, B), 1 where the image's score lies in the bin; bins include their upper edge."""
    inner_edges = np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]
    bins = np.searchsorted(inner_edges, scores, side="left")
    return np.eye(CALIBRATION_BINS)[bins]
