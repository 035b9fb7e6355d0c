"""Scorecards, the measurements that checkpoints store."""

from __future__ import annotations

from dataclasses import replace

from detection.d3.checkpoints import ScoreBin, Scorecard


def a_scorecard(**changes: object) -> Scorecard:
    """Return a measurement of 200 photographs and 100 generated pictures, in three bins."""
    scorecard = Scorecard(
        dataset="wild",
        split="test",
        pictures=300,
        auc=(0.9, 0.85, 0.95),
        false_alarms=(0.03, 0.02, 0.05),
        found=(0.7, 0.65, 0.75),
        bins=(
            ScoreBin(0.0, 0.25, 179, 19),
            ScoreBin(0.25, 0.75, 19, 29),
            ScoreBin(0.75, 1.0, 2, 52),
        ),
    )
    return replace(scorecard, **changes)
