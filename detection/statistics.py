"""What is counted: usage over all time or by day, scores, latencies, errors, the review queue.

The databases group and count; what they answer is as large as the period has days, labels, model
versions or different latencies, however many records there are. Days are those of UTC.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from django.db.models import Count, F, Min, QuerySet, Sum
from django.db.models.functions import Floor, TruncDay
from django.utils import timezone

from detection.models import Label, Prediction, PredictionBatch, RefusalCount
from detection.selectors import visible_predictions

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

DEFAULT_DAYS = 30
MAX_DAYS = 366
SCORE_BINS = 20
PERCENTILES = (50, 90, 95, 99)


class _Day(TruncDay):
    """The first moment of the day. TruncDate would do, but takes MongoDB five times as long."""

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context):
        """Read off the text: Django's own way calls a function in Python for each record."""
        column, parameters = compiler.compile(self.lhs)
        return f"SUBSTR({column}, 1, 10)", parameters


class PeriodError(ValueError):
    """Days that cannot be shown; the message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Period:
    """The days from ``first`` to ``last``, both of them included."""

    first: date
    last: date

    @classmethod
    def between(cls, first: date | None, last: date | None) -> Period:
        """An open end is today, an open beginning 30 days with the last one. Raises PeriodError."""
        last = last or timezone.now().date()
        try:
            first = first or last - timedelta(days=DEFAULT_DAYS - 1)
        except OverflowError:
            raise PeriodError("There is no such day.") from None
        if first > last:
            raise PeriodError("The first day is after the last one.")
        if (last - first).days >= MAX_DAYS:
            raise PeriodError(f"Ask for at most {MAX_DAYS} days.")
        if last == date.max:  # no day follows it
            raise PeriodError("There is no such day.")
        return cls(first, last)

    @classmethod
    def latest(cls, days: int) -> Period:
        """So many days, today among them."""
        today = timezone.now().date()
        return cls(today - timedelta(days=days - 1), today)

    @property
    def days(self) -> list[date]:
        return [
            self.first + timedelta(days=number)
            for number in range((self.last - self.first).days + 1)
        ]

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time.min, UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last, time.min, UTC) + timedelta(days=1)


@dataclass(slots=True)
class _Tally:
    count: int = 0
    uncertain: int = 0
    score_sum: float = 0.0

    def add(self, *, count: int, score_sum: float, uncertain: bool) -> None:
        self.count += count
        self.uncertain += count * uncertain
        self.score_sum += score_sum

    @property
    def mean_score(self) -> float:
        return self.score_sum / self.count if self.count else 0.0


@dataclass(slots=True)
class Usage:
    """Predictions by the label that the model gave, whatever a reviewer made of it."""

    fake: _Tally = field(default_factory=_Tally)
    real: _Tally = field(default_factory=_Tally)

    def add(
        self, *, label: str, count: int, score_sum: float, uncertain: bool, **group: object
    ) -> None:
        tally = self.fake if label == Label.FAKE else self.real
        tally.add(count=count, score_sum=score_sum, uncertain=uncertain)

    @property
    def total(self) -> int:
        return self.fake.count + self.real.count

    @property
    def uncertain(self) -> int:
        return self.fake.uncertain + self.real.uncertain

    @property
    def fake_percentage(self) -> float:
        return _percentage(self.fake.count, self.total)

    def figures(self) -> dict[str, object]:
        """Totals, shares in percent, and the mean confidence (0..1) by label."""
        return {
            "total_predictions": self.total,
            "fake_count": self.fake.count,
            "real_count": self.real.count,
            "uncertain_count": self.uncertain,
            "fake_percentage": self.fake_percentage,
            "real_percentage": _percentage(self.real.count, self.total),
            "average_confidence": {
                "fake": self.fake.mean_score,
                "real": 1 - self.real.mean_score if self.real.count else 0.0,
            },
        }


def _percentage(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def count_predictions(
    *, user: AbstractUser | None, start: datetime | None = None, end: datetime | None = None
) -> dict[str, object]:
    """Usage figures of what ``user`` may see, from ``start`` on and before ``end``."""
    records = _made(visible_predictions(user), start, end)
    if start is None and end is None:
        records = records.filter(label__in=Label.values)  # all; but so the index by label is used
    usage = Usage()
    for group in _grouped(records, "label", "uncertain"):
        usage.add(**group)
    return usage.figures()


def count_predictions_by_day(
    *, user: AbstractUser | None, start: datetime | None = None, end: datetime | None = None
) -> dict[str, object]:
    """Usage figures as above and, under ``days``, those of each day. Raises PeriodError."""
    period = Period.between(start and start.date(), end and _last_day(end))
    records = _made(visible_predictions(user), start or period.start, end or period.end)
    usage, by_day = Usage(), {day: Usage() for day in period.days}
    groups = _grouped(records.annotate(day=_Day("created_at")), "day", "label", "uncertain")
    for group in groups:
        usage.add(**group)
        by_day[group["day"].date()].add(**group)
    days = [{"date": day, **each.figures()} for day, each in by_day.items()]
    return {**usage.figures(), "days": days}


def _last_day(end: datetime) -> date:
    """The day of the last moment before ``end``."""
    if end.time() > time.min:
        return end.date()
    try:
        return end.date() - timedelta(days=1)
    except OverflowError:
        raise PeriodError("There is no such day.") from None


def _made(
    records: QuerySet[Prediction], start: datetime | None, end: datetime | None
) -> QuerySet[Prediction]:
    limits = {"created_at__gte": start, "created_at__lt": end}
    return records.filter(**{name: limit for name, limit in limits.items() if limit is not None})


def _grouped(records: QuerySet[Prediction], *names: str) -> QuerySet:
    groups = records.order_by().values(*names)
    return groups.annotate(count=Count("pk"), score_sum=Sum("fake_score"))


def predictions_made(period: Period, *, model_version: str = "") -> QuerySet[Prediction]:
    """Those of a period, by one version of the model or by all."""
    records = _made(Prediction.objects.all(), period.start, period.end)
    return records.filter(model_version=model_version) if model_version else records


def count_groups(period: Period) -> list[dict[str, object]]:
    """Predictions by ``day`` (its first moment), ``label``, ``uncertain``, ``review_status`` and
    ``model_version``: ``count`` and ``score_sum`` of each group that has any.
    """
    records = predictions_made(period).annotate(day=_Day("created_at"))
    names = ("day", "label", "uncertain", "review_status", "model_version")
    return list(_grouped(records, *names))


@dataclass(slots=True)
class ScoreBin:
    """Predictions with a fake score from ``low`` on and below ``high``; the last bin includes 1."""

    low: float
    high: float
    real: int = 0
    fake: int = 0


def count_scores(records: QuerySet[Prediction]) -> list[ScoreBin]:
    """The histogram of the fake scores, by label."""
    edges = [number / SCORE_BINS for number in range(SCORE_BINS + 1)]
    bins = [ScoreBin(low, high) for low, high in pairwise(edges)]
    groups = (
        records.annotate(place=Floor(F("fake_score") * SCORE_BINS))
        .order_by()
        .values("place", "label")
        .annotate(count=Count("pk"))
    )
    for group in groups:
        score_bin = bins[min(int(group["place"]), SCORE_BINS - 1)]
        if group["label"] == Label.FAKE:
            score_bin.fake += group["count"]
        else:
            score_bin.real += group["count"]
    return bins


def latency_percentiles(records: QuerySet[Prediction]) -> dict[int, int]:
    """Milliseconds within which so many percent were judged; empty without predictions.

    Duplicates are left out: their scores were there already.
    """
    groups = (
        records.filter(duplicate_of="")
        .order_by()
        .values("duration_ms")
        .annotate(count=Count("pk"))
        .values_list("duration_ms", "count")
    )
    durations = sorted(groups)
    if not durations:
        return {}
    reached = list(accumulate(count for _, count in durations))
    ranks = {percent: math.ceil(percent * reached[-1] / 100) for percent in PERCENTILES}
    return {percent: durations[bisect_left(reached, rank)][0] for percent, rank in ranks.items()}


def read_refusals(period: Period) -> list[RefusalCount]:
    """Images that could not be judged, by day, source and code."""
    return list(RefusalCount.objects.filter(day__gte=period.first, day__lte=period.last))


def count_batches(period: Period) -> dict[str, int]:
    """Batches that were sent in the period, by their status now."""
    batches = PredictionBatch.objects.filter(
        created_at__gte=period.start, created_at__lt=period.end
    )
    groups = batches.order_by().values("status").annotate(count=Count("pk"))
    return {group["status"]: group["count"] for group in groups}


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """Predictions that nobody has reviewed yet, of all times."""

    waiting: int
    uncertain: int
    oldest: datetime | None


def review_queue() -> ReviewQueue:
    waiting = Prediction.objects.filter(review_status=Prediction.Review.UNREVIEWED)
    groups = waiting.order_by().values("uncertain")
    groups = list(groups.annotate(count=Count("pk"), oldest=Min("created_at")))
    return ReviewQueue(
        waiting=sum(group["count"] for group in groups),
        uncertain=sum(group["count"] for group in groups if group["uncertain"]),
        oldest=min((group["oldest"] for group in groups), default=None),
    )
