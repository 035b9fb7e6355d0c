"""Read usage of all time or by day, scores, latencies, errors, the review queue.

Totals of each day and of all days are stored (``detection.records.totals``), so one row is read for
each day and model version, never all records. Days are in UTC.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import accumulate, pairwise
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Sum
from django.db.models.functions import TruncDay
from django.db.models.sql.compiler import SQLCompiler

from detection.models import Label, Prediction, PredictionBatch, RefusalCount, Total
from detection.records import sees_all, sent_between, totals, visible_predictions
from detection.statistics.periods import DAY, Period, PeriodError

Group = dict[str, Any]

PERCENTILES = (50, 90, 95, 99)


class _Day(TruncDay):
    """The first moment of the day."""

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context):
        """Cut the day out of the stored text: Django's own SQL calls Python for each record."""
        column, parameters = compiler.compile(self.lhs)
        return f"SUBSTR({column}, 1, 10)", parameters


@dataclass(slots=True)
class Usage:
    """Predictions, reviewed or not: their number and the sum of their scores by the model's label,
    and by what their files declare.
    """

    counts: Counter[str] = field(default_factory=Counter)
    score_sums: Counter[str] = field(default_factory=Counter)
    uncertain: int = 0
    declared: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        *,
        count: int,
        label: str = "",
        declares: str = "",
        score_sum: float = 0.0,
        uncertain: bool = False,
        **group: object,
    ) -> None:
        """Add predictions grouped by their label, by what their files declare, or by both."""
        if label:
            self.counts[label] += count
            self.score_sums[label] += score_sum
            self.uncertain += count * uncertain
        if declares:
            self.declared[declares] += count

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def fake_percentage(self) -> float:
        return _percentage(self.counts[Label.FAKE], self.total)

    def figures(self) -> dict[str, object]:
        """Return totals, shares in percent, and the mean confidence (0..1) by label."""
        fakes, reals = self.counts[Label.FAKE], self.counts[Label.REAL]
        return {
            "total_predictions": self.total,
            "fake_count": fakes,
            "real_count": reals,
            "uncertain_count": self.uncertain,
            "fake_percentage": self.fake_percentage,
            "real_percentage": _percentage(reals, self.total),
            "average_confidence": {
                "fake": self.score_sums[Label.FAKE] / fakes if fakes else 0.0,
                "real": 1 - self.score_sums[Label.REAL] / reals if reals else 0.0,
            },
            "declared": {name: self.declared[name] for name in Prediction.Declares.values},
        }


def _percentage(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def count_predictions(
    *, user: AbstractUser | None, start: datetime | None = None, end: datetime | None = None
) -> dict[str, object]:
    """Return usage figures of what ``user`` may see, from ``start`` on and before ``end``."""
    usage = Usage()
    for group in _groups(user, start, end):
        usage.add(**group)
    return usage.figures()


def count_predictions_by_day(
    *, user: AbstractUser | None, start: datetime | None = None, end: datetime | None = None
) -> dict[str, object]:
    """Return usage figures as ``count_predictions`` does and, under ``days``, those of each day.

    Raises PeriodError.
    """
    period = Period.between(start and start.date(), end and _last_day(end))
    usage, by_day = Usage(), {day: Usage() for day in period.days}
    for group in _groups(user, start or period.start, end or period.end):
        usage.add(**group)
        by_day[group["day"]].add(**group)
    days = [{"date": day, **each.figures()} for day, each in by_day.items()]
    return {**usage.figures(), "days": days}


def _last_day(end: datetime) -> date:
    """Return the day of the last moment before ``end``."""
    if end.time() > time.min:
        return end.date()
    try:
        return end.date() - DAY
    except OverflowError:
        raise PeriodError("There is no such day.") from None


def _groups(
    user: AbstractUser | None, start: datetime | None, end: datetime | None
) -> Iterator[Group]:
    """Read whole days from their totals, and count the records of parts of days at the ends."""
    owner = totals.ALL_USERS if sees_all(user) else str(user.pk)
    if start is None and end is None:
        yield from _stored(totals.all_days(owner=owner))
        return
    whole = _whole_days(start, end)
    if whole.first > whole.last:  # within a day, or two
        yield from _counted(user, start, end)
        return
    if start and start < whole.start:
        yield from _part_of_day(user, start, whole.start, owner=owner)
    yield from _stored(totals.days_between(whole.first, whole.last, owner=owner))
    if end and whole.end < end:
        yield from _part_of_day(user, whole.end, end, owner=owner)


def _part_of_day(
    user: AbstractUser | None, start: datetime, end: datetime, *, owner: str
) -> Iterator[Group]:
    """Count the records of a part of one day. Of more than half a day, count the rest, and subtract
    it from the totals of the day.
    """
    day = start.date()
    if end - start <= DAY / 2 or day == date.max:
        yield from _counted(user, start, end)
        return
    yield from _stored(totals.days_between(day, day, owner=owner))
    whole = Period(day, day)
    for rest in ((whole.start, start), (end, whole.end)):
        if rest[0] < rest[1]:
            for group in _counted(user, *rest):
                yield {**group, "count": -group["count"], "score_sum": -group["score_sum"]}


def _whole_days(start: datetime | None, end: datetime | None) -> Period:
    """Return the whole days between the moments; if there are none, the first is after the last."""
    first, last = date.min, date.max - DAY  # the very last day has no end
    if start:
        is_whole = start.time() == time.min
        first = start.date() if is_whole else min(start.date(), last) + DAY
    if end:
        last = max(end.date(), date.min + DAY) - DAY
    return Period(first, last)


def _counted(
    user: AbstractUser | None, start: datetime | None, end: datetime | None
) -> Iterator[Group]:
    """Count the records between the moments, by day, label, certainty and declaration."""
    limits = {"created_at__gte": start, "created_at__lt": end}
    made = {name: limit for name, limit in limits.items() if limit is not None}
    records = visible_predictions(user).filter(**made).annotate(first_moment=_Day("created_at"))
    groups = records.order_by().values("first_moment", "label", "uncertain", "declares")
    for group in groups.annotate(count=Count("pk"), score_sum=Sum("fake_score")):
        yield {"day": group.pop("first_moment").date(), **group}


def read_days(period: Period) -> list[Total]:
    """Return the totals of each day, by model version, of both kinds."""
    return [
        row
        for kind in (totals.USAGE, totals.SPREAD)
        for row in totals.days_between(period.first, period.last, kind=kind)
    ]


def _stored(rows: Iterable[Total]) -> Iterator[Group]:
    """Yield the groups of totals: by label, then by what the files declare."""
    for row in rows:
        yield from count_groups([row])
        for declares, number in row.declared.items():
            yield {"day": _day_of(row), "declares": declares, "count": number}


def _day_of(row: Total) -> date | None:
    """Return the day of a row; None: all days."""
    return None if row.span == totals.EVER else date.fromisoformat(row.span)


def count_groups(rows: Iterable[Total]) -> Iterator[Group]:
    """Yield ``count`` and ``score_sum`` of the predictions by ``day`` (None: all days), ``label``,
    ``uncertain``, ``review_status`` and ``model_version``; groups without predictions are left out.
    """
    for row in rows:
        day = _day_of(row)
        for group in totals.groups_of(row):
            yield {"day": day, "model_version": row.model_version, **group}


@dataclass(slots=True)
class ScoreBin:
    """Predictions with a fake score from ``low`` on and below ``high``; the last bin includes 1."""

    low: float
    high: float
    real: int = 0
    fake: int = 0


def count_scores(rows: Iterable[Total]) -> list[ScoreBin]:
    """Return the histogram of the fake scores, by label."""
    edges = [number / totals.SCORE_BINS for number in range(totals.SCORE_BINS + 1)]
    bins = [ScoreBin(low, high) for low, high in pairwise(edges)]
    for name, number in _summed(row.score_bins for row in rows).items():
        label, _, place = name.partition("/")
        score_bin = bins[int(place)]
        if label == Label.FAKE:
            score_bin.fake += number
        else:
            score_bin.real += number
    return bins


def latency_percentiles(rows: Iterable[Total]) -> dict[int, int]:
    """Return the milliseconds, to two digits, within which each percentage was judged; empty
    without predictions. Duplicates are left out: their scores were known.
    """
    numbers = _summed(row.latencies for row in rows)
    durations = sorted((int(each), number) for each, number in numbers.items() if number)
    if not durations:
        return {}
    reached = list(accumulate(number for _, number in durations))
    ranks = {percent: math.ceil(percent * reached[-1] / 100) for percent in PERCENTILES}
    return {percent: durations[bisect_left(reached, rank)][0] for percent, rank in ranks.items()}


def _summed(numbers: Iterable[dict[str, int]]) -> Counter[str]:
    """Return the sums of several rows by name."""
    sums: Counter[str] = Counter()
    for each in numbers:
        sums.update(each)
    return sums


def read_refusals(period: Period) -> list[RefusalCount]:
    """Return how many images could not be judged, by day, source and code."""
    return list(RefusalCount.objects.filter(day__gte=period.first, day__lte=period.last))


def count_failed_batches(period: Period) -> int:
    """Count failed batches that were sent in the period."""
    failed = PredictionBatch.objects.filter(status=PredictionBatch.Status.FAILED)
    return sent_between(failed, start=period.start, end=period.end).count()


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """Unreviewed predictions of all times."""

    waiting: int
    uncertain: int
    oldest: datetime | None


def review_queue() -> ReviewQueue:
    unreviewed = Prediction.Review.UNREVIEWED
    groups = [
        group for group in count_groups(totals.all_days()) if group["review_status"] == unreviewed
    ]
    waiting = Prediction.objects.filter(review_status=unreviewed).order_by("pk")
    return ReviewQueue(
        waiting=sum(group["count"] for group in groups),
        uncertain=sum(group["count"] for group in groups if group["uncertain"]),
        oldest=waiting.values_list("created_at", flat=True).first(),
    )
