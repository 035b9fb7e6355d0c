"""The totals are counted anew from the records, and mended where they differ.

The service may be at work meanwhile, and nobody waits for a count: a row is mended only if nothing
has been counted in it since it was read, which its revision tells. Where the database has
transactions, such a row is read and counted again a few times. Where it has none, a record is
written a moment before it is counted, so a difference may be one that is about to vanish: the row
has to be quiet for longer than any write takes. What is never that quiet is left for another time,
as tomorrow, when today is over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from time import sleep

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from detection.errors import database_errors
from detection.models import Prediction, Total
from detection.records import EVER, Row, totals
from detection.statistics import Period

EPOCH = date(1970, 1, 1)  # ids of records begin with the time since then
SETTLE_SECONDS = 30.0  # longer than a write to a lost server waits
COUNTS = 3  # of a row that is counted in meanwhile
COUNTED = (
    "label",
    "uncertain",
    "review_status",
    "fake_score",
    "duration_ms",
    "duplicate_of",
    "owner_id",
    "model_version",
    "created_at",
)


@dataclass(slots=True)
class Recount:
    """What was found: rows that were wrong, and those of them that were too busy to be mended."""

    days: int = 0
    wrong: list[Row] = field(default_factory=list)
    busy: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Difference:
    row: Row
    revision: int | None  # None: the row is missing
    missing: dict[str, int]  # what has to be added to be right


def rebuild_totals(
    *, period: Period | None = None, mend: bool = True, settle: float = SETTLE_SECONDS
) -> Recount:
    """Counts each day of the period, or of all time, and then adds up all days that there are;
    where the totals differ, they are mended, unless told not to. ``settle`` are the seconds that a
    database without transactions is watched before.

    Raises UnavailableError; what was mended until then is right.
    """
    with database_errors():
        days = period.days if period else days_of(Prediction.objects.all())
        recount = Recount(days=len(days))
        _compare(map(str, days), recount, mend=mend, settle=settle)
        _compare([EVER], recount, mend=mend, settle=settle)
    return recount


def records_of(predictions: QuerySet[Prediction], day: date) -> Iterator[Prediction]:
    """What the totals are made of, in tuples that have those fields of a prediction."""
    period = Period(day, day)
    made = predictions.filter(created_at__gte=period.start, created_at__lt=period.end)
    return made.order_by().values_list(*COUNTED, named=True).iterator()


def _compare(spans: Iterable[str], recount: Recount, *, mend: bool, settle: float) -> None:
    if connection.features.supports_transactions:
        for span in spans:
            _compare_at_once(span, recount, mend=mend)
    elif found := [each for span in spans for each in _differences(span)]:
        sleep(settle)
        recount.busy += _conclude(found, recount, mend=mend)


def _compare_at_once(span: str, recount: Recount, *, mend: bool) -> None:
    """Without a transaction around the count: SQLite's only writer would be this one."""
    busy: list[Row] | None = None
    for _ in range(COUNTS):
        found = [each for each in _differences(span) if busy is None or each.row in busy]
        busy = _conclude(found, recount, mend=mend)
        if not busy:
            return
    recount.busy += busy


def _conclude(differences: Iterable[_Difference], recount: Recount, *, mend: bool) -> list[Row]:
    """Those that cannot be told yet."""
    busy = []
    for each in differences:
        if _mend(each) if mend else _is_unchanged(each):
            recount.wrong.append(each.row)
        else:
            busy.append(each.row)
    return busy


def _differences(span: str) -> Iterator[_Difference]:
    kept = {
        Row(total.owner, total.kind, span, total.model_version): total
        for total in Total.objects.filter(span=span)
    }
    full = _sums_of_days() if span == EVER else _full_count(date.fromisoformat(span))
    for row in sorted(kept.keys() | full.keys()):
        total = kept.get(row)
        missing = Counter(full.get(row, {}))
        missing.subtract(totals.counts_of(total) if total else {})
        if missing := {name: number for name, number in missing.items() if number}:
            yield _Difference(row, total and total.revision, missing)


def _full_count(day: date) -> dict[Row, Counter[str]]:
    counted = totals.tally(records_of(Prediction.objects.all(), day))
    # All days are put together from the days.
    return {row: counts for row, counts in counted.items() if row.span != EVER}


def _sums_of_days() -> dict[Row, Counter[str]]:
    sums: dict[Row, Counter[str]] = defaultdict(Counter)
    for total in Total.objects.exclude(span=EVER).iterator():
        row = Row(total.owner, total.kind, EVER, total.model_version)
        sums[row].update(totals.counts_of(total))
    return sums


def _unchanged(difference: _Difference) -> QuerySet[Total]:
    return Total.objects.filter(pk=difference.row.key, revision=difference.revision)


def _is_unchanged(difference: _Difference) -> bool:
    if difference.revision is None:
        return not Total.objects.filter(pk=difference.row.key).exists()
    return _unchanged(difference).exists()


def _mend(difference: _Difference) -> bool:
    """In the row, and in that of all days. False when something has been counted in it since."""
    row, missing = difference.row, difference.missing
    with transaction.atomic():
        if difference.revision is None:
            is_mended = totals.make_row(row, missing)
        else:
            is_mended = bool(totals.add_to(_unchanged(difference), missing))
        if is_mended and row.span != EVER:
            ever = Row(row.owner, row.kind, EVER, row.model_version)
            totals.make_row(ever)
            totals.change([ever.key], missing)
    return is_mended


def days_of(predictions: QuerySet[Prediction]) -> list[date]:
    """From that of the first record to tomorrow: another machine's clock may be ahead.

    The first one is halved in on, since not every server finds it by an index.
    """

    def has_records_until(day: date) -> bool:
        return predictions.filter(created_at__lt=Period(day, day).end).order_by().exists()

    days = Period(EPOCH, timezone.now().date() + timedelta(days=1)).days
    return days[bisect_left(days, x=True, key=has_records_until) :]
