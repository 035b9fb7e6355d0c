"""How good are scores? Metrics per source and their mean, with 95 % bootstrap intervals.

Values come from scikit-learn. Intervals are percentiles over resampled images: a draw is a row of
counts, how often it took each image, and all draws are measured at once as weighted metrics.
The calibration error grows with every resampling, so its interval may lie above its value.

Letters in the shape comments: D draws, N images, T distinct scores, B bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from sklearn import metrics as sklearn_metrics

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
CALIBRATION_BINS = 15

_BLOCK = 4_000_000  # counts of one block of draws, which bounds the memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


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


@dataclass(frozen=True, slots=True)
class Measurement:
    """The metrics of each source, and their mean over the sources that define them."""

    sources: tuple[SourceMetrics, ...]
    mean: Metrics


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
    draws: int = DRAWS,
    seed: int = 0,
) -> Measurement:
    """Metrics of fake ``scores`` (0..1) against ``labels`` (0 real, 1 fake), all of length N.

    A score above ``threshold`` is the verdict "fake". Draws keep the number of real and
    of fake images of each source.
    """
    scores, labels, sources = np.asarray(scores, float), np.asarray(labels), np.asarray(sources)
    rng = np.random.default_rng(seed)
    measured, values, drawn = [], [], []
    for source in sorted(set(sources.tolist())):
        own = sources == source
        values.append(_values(scores[own], labels[own], threshold))
        drawn.append(_bootstrap(scores[own], labels[own], threshold, draws, rng))
        fake = int(labels[own].sum())
        metrics = _metrics(values[-1], drawn[-1])
        measured.append(SourceMetrics(source, int(own.sum()) - fake, fake, metrics))
    return Measurement(tuple(measured), _metrics(_mean(values), _mean(drawn)))


def reliability_bins(scores: Sequence[float], labels: Sequence[int]) -> list[ReliabilityBin]:
    """The bins of the calibration error that hold images, lowest scores first."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    members = _bin_membership(scores).T.astype(bool)  # (B, N)
    return [
        ReliabilityBin(int(own.sum()), float(scores[own].mean()), float(labels[own].mean()))
        for own in members
        if own.any()
    ]


def _metrics(values: Mapping[str, float], drawn: Mapping[str, np.ndarray]) -> Metrics:
    def estimate(name: str) -> Estimate | None:
        if name not in values:
            return None
        low, high = np.percentile(drawn[name], INTERVAL)
        return Estimate(float(values[name]), float(low), float(high))

    return Metrics(**{name: estimate(name) for name in METRICS})


def _mean(per_source: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The mean of each metric over the sources that have it."""
    found = {name: [each[name] for each in per_source if name in each] for name in METRICS}
    return {name: np.mean(values, axis=0) for name, values in found.items() if values}


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
    scores: np.ndarray, labels: np.ndarray, threshold: float, draws: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The metrics of each draw, (D,) each."""
    blocks = [
        _weighted(scores, labels, threshold, counts) for counts in _resample(labels, draws, rng)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _resample(labels: np.ndarray, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks of (D, N) counts; those of each class add up to its number of images."""
    rows = max(1, _BLOCK // len(labels))
    for start in range(0, draws, rows):
        counts = np.zeros((min(rows, draws - start), len(labels)))
        for label in (0, 1):
            own = np.flatnonzero(labels == label)
            if own.size:
                chances = np.full(own.size, 1 / own.size)
                counts[:, own] = rng.multinomial(own.size, chances, size=len(counts))
        yield counts


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
