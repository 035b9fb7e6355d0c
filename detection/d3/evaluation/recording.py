"""Record an evaluation as the scorecard of its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression

from ..checkpoints import FORMAT, ScoreBin, Scorecard, describe, record
from ..dataset import FAKE, REAL, Sample
from ..errors import CheckpointError, EvaluationError
from .evaluation import Evaluation

MIN_PICTURES = 30  # of each class, and of each bin of scores
MAX_BINS = 20


def check_recordable(path: Path, version: str, samples: Sequence[Sample]) -> None:
    """Raise if a measurement of ``samples`` cannot be stored in the checkpoint at ``path``.

    ``version`` is that of the detector that was measured. Raises CheckpointError, EvaluationError.
    """
    described = describe(path)
    if described["format"] != FORMAT:
        raise CheckpointError(
            f"The checkpoint {path} has a published layout; manage.py import_checkpoint converts "
            "it to a file that can store a measurement."
        )
    if described["version"] != version:
        raise CheckpointError(
            f"The checkpoint {path} runs with another CLIP tower than its own (CLIP_WEIGHTS), so "
            "it cannot store the measurement."
        )
    counts = [sum(sample.label == label for sample in samples) for label in (REAL, FAKE)]
    if min(counts) < MIN_PICTURES:
        raise EvaluationError(
            f"To be stored, a measurement needs {MIN_PICTURES} pictures of each class; there are "
            f"{counts[REAL]} real and {counts[FAKE]} fake ones."
        )


def record_evaluation(evaluation: Evaluation, *, dataset: str, split: str, path: Path) -> None:
    """Store the measurement of the unchanged images in the checkpoint at ``path``.

    Raises CheckpointError, EvaluationError.
    """
    check_recordable(path, evaluation.detector.version, evaluation.samples)
    metrics = evaluation.clean.measurement.pooled.metrics
    scorecard = Scorecard(
        dataset=dataset,
        split=split,
        pictures=len(evaluation.samples),
        auc=astuple(metrics.auc),
        false_alarms=astuple(metrics.accuracy_real.complement()),
        found=astuple(metrics.accuracy_fake),
        bins=score_bins(evaluation.clean.scores, evaluation.labels),
    )
    record(path, scorecard)


def score_bins(scores: np.ndarray, labels: np.ndarray) -> tuple[ScoreBin, ...]:
    """Divide 0..1 into bins with about equally many of the scores (N,), at least 30 in each.

    Isotonic regression joins bins, so that the share of fakes rises with the score.
    """
    order = np.argsort(scores, kind="stable")
    scores, labels = scores[order], labels[order]
    starts = _bin_starts(scores)
    images = np.diff(starts, append=len(scores))
    shares = np.add.reduceat(labels, starts) / images
    starts = starts[isotonic_regression(shares, weights=images).blocks[:-1]]
    images = np.diff(starts, append=len(scores)).tolist()
    fakes = np.add.reduceat(labels, starts).tolist()
    edges = [0.0, *scores[starts[1:] - 1].tolist(), 1.0]
    return tuple(
        ScoreBin(low, high, own - fake, fake)
        for (low, high), own, fake in zip(pairwise(edges), images, fakes, strict=True)
    )


def _bin_starts(scores: np.ndarray) -> np.ndarray:
    """Return where the bins of the sorted scores start; equal scores share a bin."""
    size, starts = max(MIN_PICTURES, len(scores) // MAX_BINS), [0]
    for start in np.flatnonzero(np.diff(scores)) + 1:
        if min(start - starts[-1], len(scores) - start) >= size:
            starts.append(int(start))
    return np.array(starts)
