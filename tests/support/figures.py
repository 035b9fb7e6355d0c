"""Check statistics against a plain loop over the records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import pytest

from detection.models import Prediction
from detection.statistics.usage import ScoreBin

NAMES = ("label", "uncertain", "review_status", "model_version")


def assert_usage(figures: dict, counted: list[Prediction]) -> None:
    fake = [each.fake_score for each in counted if each.label == "FAKE"]
    real = [1 - each.fake_score for each in counted if each.label == "REAL"]
    assert figures["total_predictions"] == len(counted)
    assert figures["fake_count"] == len(fake)
    assert figures["real_count"] == len(real)
    assert figures["uncertain_count"] == sum(each.uncertain for each in counted)
    share = 100 * len(fake) / len(counted) if counted else 0
    assert figures["fake_percentage"] == pytest.approx(share, abs=0.005)
    confidence = {
        label: sum(scores) / len(scores) if scores else 0
        for label, scores in (("fake", fake), ("real", real))
    }
    assert figures["average_confidence"] == pytest.approx(confidence)


def assert_groups(groups: Iterable[dict], counted: list[Prediction]) -> None:
    groups = list(groups)
    assert {
        (group["day"], *(group[name] for name in NAMES)): group["count"] for group in groups
    } == Counter(
        (each.created_at.date(), *(getattr(each, name) for name in NAMES)) for each in counted
    )
    score_sum = sum(each.fake_score for each in counted)
    assert sum(group["score_sum"] for group in groups) == pytest.approx(score_sum)


def assert_histogram(bins: list[ScoreBin], counted: list[Prediction]) -> None:
    expected = Counter((min(math.floor(20 * each.fake_score), 19), each.label) for each in counted)
    assert [(each.real, each.fake) for each in bins] == [
        (expected[place, "REAL"], expected[place, "FAKE"]) for place in range(20)
    ]


def assert_latencies(percentiles: dict[int, int], counted: list[Prediction]) -> None:
    durations = sorted(each.duration_ms for each in counted if not each.duplicate_of)
    assert percentiles == {
        percent: durations[math.ceil(percent / 100 * len(durations)) - 1]
        for percent in (50, 90, 95, 99)
    }
