"""Record an evaluation as the scorecard of its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

import numpy as np

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
            f"The checkpoint {path} runs on another CLIP tower than its own (CLIP_WEIGHTS); its "
            "measurement cannot be stored."
        )
    counts = [sum(sample.label == label for sample in samples) for label in (REAL, FAKE)]
    if min(counts) < MIN_PICTURES:
        raise EvaluationError(
            f"A measurement to be stored needs {MIN_PICTURES} pictures of each class; these are "
            f"{counts[REAL]} real and {counts[FAKE]} fake."
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
    """Divide 0..1 into bins with about equal numbers of the scores (N,), at least 30 in each.

    A bin with a smaller share of fakes than the bin below is joined with it, so that the share
    rises with the score, as in isotonic regression.
    """
    order = np.argsort(scores, kind="stable")
    scores, labels = scores[order], labels[order]
    bins, low = [], 0.0
    for start, end in pairwise([0, *_bin_ends(scores)]):
        high = float(scores[end - 1]) if end < len(scores) else 1.0
        fake = int(labels[start:end].sum())
        bins.append(ScoreBin(low, high, end - start - fake, fake))
        while len(bins) > 1 and _fake_share(bins[-1]) <= _fake_share(bins[-2]):
            bins[-2:] = [_joined(*bins[-2:])]
        low = high
    return tuple(bins)


def _bin_ends(scores: np.ndarray) -> list[int]:
    """Return the ends of the bins of the sorted scores; equal scores share a bin."""
    size, start, ends = max(MIN_PICTURES, len(scores) // MAX_BINS), 0, []
    for end in np.flatnonzero(np.diff(scores)) + 1:
        if min(end - start, len(scores) - end) >= size:
            ends.append(int(end))
            start = end
    return [*ends, len(scores)]


def _fake_share(each: ScoreBin) -> float:
    return each.fake / (each.real + each.fake)


def _joined(lower: ScoreBin, upper: ScoreBin) -> ScoreBin:
    return ScoreBin(lower.low, upper.high, lower.real + upper.real, lower.fake + upper.fake)
