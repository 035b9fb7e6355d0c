"""The databases count the same as a loop over the records."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from detection.models import Prediction, PredictionBatch, RefusalCount, new_id, now
from detection.records.totals import SPREAD, all_days
from detection.statistics.periods import Period, PeriodError
from detection.statistics.quality import Confusion, Rate
from detection.statistics.usage import (
    count_failed_batches,
    count_groups,
    count_predictions,
    count_predictions_by_day,
    count_scores,
    latency_percentiles,
    read_days,
    read_refusals,
    review_queue,
)
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.figures import assert_groups, assert_histogram, assert_latencies, assert_usage

FIRST, LAST = date(2026, 2, 25), date(2026, 3, 6)
PERIOD = Period(FIRST, LAST)
BORDERS = (
    datetime(2026, 2, 24, 23, 59, 59, 999000, UTC),
    datetime(2026, 2, 25, tzinfo=UTC),
    datetime(2026, 3, 6, 23, 59, 59, 999000, UTC),
    datetime(2026, 3, 7, tzinfo=UTC),
)


def moment(chance: random.Random) -> datetime:
    """Return a moment in or near the period, in whole milliseconds like those of records."""
    start = datetime(2026, 2, 22, tzinfo=UTC)
    return start + timedelta(milliseconds=chance.randrange(16 * 24 * 3600 * 1000))


@pytest.fixture
def records(db) -> list[Prediction]:
    """Random records of versions 1 and 2, in and around the period, and some at its borders.

    The records at the borders have a version of their own: in a query for a version from a moment
    on, the MongoDB wire server of the tests leaves out the records of that very moment.
    """
    chance = random.Random(0)
    moments = [(created_at, "0") for created_at in BORDERS]
    moments += [(moment(chance), chance.choice("12")) for _ in range(396)]
    made = [
        unsaved_prediction(
            created_at=created_at,
            fake_score=chance.choice([0.0, 0.05, 0.35, 0.5, 1.0, chance.random()]),
            uncertain=chance.random() < 0.2,
            model_version=version,
            review_status=chance.choice(Prediction.Review.values),
            duration_ms=chance.randrange(50),
            duplicate_of=chance.choice(["", "", "01M84Q580AZZY3CNE3Y34WJ3B2"]),
        )
        for created_at, version in moments
    ]
    return store_predictions(made)


@pytest.fixture
def in_period(records) -> list[Prediction]:
    return [each for each in records if FIRST <= each.created_at.date() <= LAST]


def test_usage_of_a_period_is_counted(in_period):
    assert_usage(count_predictions(user=None, start=PERIOD.start, end=PERIOD.end), in_period)


def test_usage_is_counted_by_day(in_period):
    figures = count_predictions_by_day(user=None, start=PERIOD.start, end=PERIOD.end)

    assert_usage(figures, in_period)
    assert [day["date"] for day in figures["days"]] == PERIOD.days
    for day in figures["days"]:
        assert_usage(day, [each for each in in_period if each.created_at.date() == day["date"]])


@pytest.mark.parametrize("first_hour", [7, 16])  # most of the day, less than half of it
@pytest.mark.parametrize("last_hour", [7, 16])
def test_the_days_at_the_ends_are_cut_where_the_moments_are(records, first_hour, last_hour):
    start = datetime(2026, 3, 1, first_hour, 30, tzinfo=UTC)
    end = datetime(2026, 3, 3, last_hour, 5, tzinfo=UTC)
    counted = [each for each in records if start <= each.created_at < end]

    figures = count_predictions_by_day(user=None, start=start, end=end)

    assert_usage(figures, counted)
    assert [day["date"].day for day in figures["days"]] == [1, 2, 3]
    for day in figures["days"]:
        assert_usage(day, [each for each in counted if each.created_at.date() == day["date"]])


def test_groups_are_counted(in_period):
    assert_groups(count_groups(read_days(PERIOD)), in_period)


@pytest.mark.parametrize("version", ["", "1", "3"])
def test_scores_are_counted_in_bins(in_period, version):
    counted = [each for each in in_period if version in ("", each.model_version)]

    bins = count_scores(day for day in read_days(PERIOD) if version in ("", day.model_version))

    assert_histogram(bins, counted)
    assert (bins[0].low, bins[7].low, bins[-1].high) == (0, 0.35, 1)


def test_latencies_are_those_of_images_that_the_model_saw(in_period):
    assert_latencies(latency_percentiles(read_days(PERIOD)), in_period)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("durations", "percentiles"),
    [
        ([], {}),
        ([7], {50: 7, 90: 7, 95: 7, 99: 7}),
        (range(1, 101), {50: 50, 90: 90, 95: 95, 99: 99}),
    ],
)
def test_percentiles_are_latencies_that_occurred(durations, percentiles):
    store_predictions(unsaved_prediction(duration_ms=each) for each in durations)

    assert latency_percentiles(all_days(kind=SPREAD)) == percentiles


@pytest.mark.django_db
def test_refusals_and_batches_of_a_period_are_counted():
    for day in (FIRST - timedelta(days=1), FIRST, LAST, LAST + timedelta(days=1)):
        RefusalCount.objects.create(
            id=f"{day}/api/x", day=day, source="api", code="x", count=day.day
        )
    failed = PredictionBatch.Status.FAILED
    for created_at in BORDERS:
        PredictionBatch.objects.create(
            batch_id=new_id(created_at), total_images=1, source="api", status=failed
        )

    assert sorted(each.count for each in read_refusals(PERIOD)) == [6, 25]
    assert count_failed_batches(PERIOD) == 2


@pytest.mark.django_db
def test_the_review_queue_is_counted():
    assert review_queue().oldest is None

    oldest = now() - timedelta(days=400)
    a_prediction(created_at=oldest, uncertain=True)
    a_prediction()
    a_prediction(created_at=oldest - timedelta(days=1), review_status="confirmed", uncertain=True)

    queue = review_queue()
    assert (queue.waiting, queue.uncertain, queue.oldest) == (2, 1, oldest)


def test_a_period_without_ends_is_the_last_thirty_days():
    today = datetime.now(UTC).date()

    assert Period.between(None, None) == Period(today - timedelta(days=29), today)
    assert Period.between(None, LAST) == Period(date(2026, 2, 5), LAST)
    assert Period.between(today, None) == Period.latest(1)


@pytest.mark.parametrize(
    ("first", "last", "sentence"),
    [
        (LAST, FIRST, "The first day is after the last one."),
        (date(2025, 3, 5), LAST, "Ask for at most 366 days."),
        (None, date.min, "There is no such day."),
        (date(9999, 12, 1), date.max, "There is no such day."),
    ],
)
def test_an_invalid_period_is_refused(first, last, sentence):
    with pytest.raises(PeriodError, match=sentence):
        Period.between(first, last)


def test_a_period_may_have_as_many_days_as_a_leap_year():
    assert len(Period.between(date(2024, 1, 1), date(2024, 12, 31)).days) == 366


def test_quality_takes_the_reviewers_label_for_the_truth(in_period):
    confusion = Confusion()
    for each in in_period:
        confusion.add(label=each.label, review_status=each.review_status, count=1)

    reviewed = [each for each in in_period if each.review_status != "unreviewed"]
    pairs = Counter((each.label, each.label_in_force) for each in reviewed)
    assert confusion == Confusion(
        true_fake=pairs["FAKE", "FAKE"],
        false_fake=pairs["FAKE", "REAL"],
        true_real=pairs["REAL", "REAL"],
        false_real=pairs["REAL", "FAKE"],
    )
    hits, called = pairs["FAKE", "FAKE"], sum(each.label == "FAKE" for each in reviewed)
    fakes = sum(each.label_in_force == "FAKE" for each in reviewed)
    right = pairs["FAKE", "FAKE"] + pairs["REAL", "REAL"]
    assert confusion.agreement == Rate(right, len(reviewed))
    assert confusion.precision == Rate(hits, called)
    assert confusion.recall == Rate(hits, fakes)
    assert (confusion.fakes, confusion.reals) == (fakes, len(reviewed) - fakes)


@pytest.mark.parametrize(
    ("hits", "total"), [(0, 1), (1, 1), (3, 7), (0, 50), (50, 50), (912, 1000)]
)
def test_the_interval_is_that_of_wilson(hits, total):
    """Its bounds are the shares from which the measured one is 1.96 standard deviations away."""
    rate = Rate(hits, total)

    assert rate.value == hits / total
    assert 0 <= rate.interval.low <= rate.value <= rate.interval.high <= 1
    for share in rate.interval:
        distance = (rate.value - share) ** 2
        assert distance == pytest.approx(1.959964**2 * share * (1 - share) / total, abs=1e-6)


def test_a_rate_of_no_cases_has_no_value():
    rate = Rate(0, 0)

    assert (rate.value, rate.interval) == (None, None)
