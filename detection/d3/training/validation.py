"""Metrics of a validation split, as means over the sources of its data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from ..dataset import REAL, Sample


def source_means(
    metric: Callable[[np.ndarray, np.ndarray], float], samples: list[Sample], scores: np.ndarray
) -> float:
    """Average ``metric(labels, scores)`` over the sources, except those for which it is NaN.

    If the metric of a source is NaN, it is tried again with the real pictures of all sources: a
    source may have fakes only.
    """
    labels = np.array([sample.label for sample in samples])
    sources = np.array([sample.source for sample in samples])

    def value(own: np.ndarray) -> float:
        found = metric(labels[own], scores[own])
        if not np.isnan(found):
            return found
        own = own | (labels == REAL)
        return metric(labels[own], scores[own])

    return float(np.nanmean([value(sources == source) for source in sorted(set(sources))]))


def accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the share of logits (N,) whose sign agrees with the label, 0 real and 1 fake."""
    return float(np.mean((logits > 0) == labels))


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; NaN if a class is missing."""
    return float(roc_auc_score(labels, scores)) if len(set(labels)) == 2 else float("nan")
