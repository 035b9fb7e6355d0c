"""Count the totals again from the records, and correct those that differ.

The service may be running. A row is corrected only if it still has the revision at which it was
read: then nothing was counted in it since. With transactions, a row that has changed is compared
again a few times. Without them, a record is written a moment before it is counted, so a difference
may be about to vanish: a row is corrected only if it stays unchanged for longer than any write
takes. A row that changes too often, as those of today may, is left to a later run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from time import sleep

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from detection.errors import database_errors
from detection.models import Prediction, Total
from detection.records import EVER, Row, totals
from detection.statistics import Period

SETTLE_SECONDS = 30.0  # longer than a write to a lost server waits
MAX_COUNTS = 3  # of a row that changes meanwhile
COUNTED = (
    "label",
    "uncertain",
    "review_status",
    "fake_score",
    "duration_ms",
    "duplicate_of",
    "declares",
    "owner_id",
    "model_version",
    "created_at",
)


@dataclass(slots=True)
class Recount:
    """The number of days, the rows that were wrong, and the rows that changed too often."""

    days: int = 0
    wrong: list[Row] = field(default_factory=list)
    busy: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Difference:
    row: Row
    revision: int | None  # None: the row is missing
    missing: dict[str, int]  # the numbers that have to be added


def rebuild_totals(*, period: Period | None = None, correct: bool = True) -> Recount:
    """Count each day of the period, or of all time, then add up all days. Correct the totals that
    differ if ``correct`` is true. In a database without transactions, a difference counts only if
    it stays the same for SETTLE_SECONDS.

    Raises UnavailableError; totals corrected until then are right.
    """
    with database_errors():
        days = period.days if period else _days_of_all()
        recount = Recount(days=len(days))
        _compare(map(str, days), recount, correct=correct)
        _compare([EVER], recount, correct=correct)
    return recount


def _compare(spans: Iterable[str], recount: Recount, *, correct: bool) -> None:
    if connection.features.supports_transactions:
        for span in spans:
            _compare_at_once(span, recount, correct=correct)
    elif found := [each for span in spans for each in _differences(span)]:
        sleep(SETTLE_SECONDS)
        recount.busy += _conclude(found, recount, correct=correct)


def _compare_at_once(span: str, recount: Recount, *, correct: bool) -> None:
    """Compare a span without a transaction, which would block the other writers of SQLite."""
    busy: list[Row] | None = None
    for _ in range(MAX_COUNTS):
        found = [each for each in _differences(span) if busy is None or each.row in busy]
        busy = _conclude(found, recount, correct=correct)
        if not busy:
            return
    recount.busy += busy


def _conclude(differences: Iterable[_Difference], recount: Recount, *, correct: bool) -> list[Row]:
    """Correct the rows, or only list them. Return the rows that have changed meanwhile."""
    busy = []
    for each in differences:
        if _correct(each) if correct else _is_unchanged(each):
            recount.wrong.append(each.row)
        else:
            busy.append(each.row)
    return busy


def _differences(span: str) -> Iterator[_Difference]:
    stored = {
        Row(total.owner, total.kind, span, total.model_version): total
        for total in Total.objects.filter(span=span)
    }
    full = _sums_of_days() if span == EVER else _full_count(date.fromisoformat(span))
    for row in sorted(stored.keys() | full.keys()):
        total = stored.get(row)
        missing = Counter(full.get(row, {}))
        missing.subtract(totals.counts_of(total) if total else {})
        if missing := {name: number for name, number in missing.items() if number}:
            yield _Difference(row, total and total.revision, missing)


def _full_count(day: date) -> dict[Row, Counter[str]]:
    period = Period(day, day)
    made = Prediction.objects.filter(created_at__gte=period.start, created_at__lt=period.end)
    records = made.order_by().values_list(*COUNTED, named=True)
    counted = totals.tally(records.iterator())
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


def _correct(difference: _Difference) -> bool:
    """Correct the row, and that of all days. Return False if the row has changed since."""
    row, missing = difference.row, difference.missing
    with transaction.atomic():
        if difference.revision is None:
            is_corrected = totals.make_row(row, missing)
        else:
            is_corrected = bool(totals.add_to(_unchanged(difference), missing))
        if is_corrected and row.span != EVER:
            ever = Row(row.owner, row.kind, EVER, row.model_version)
            totals.make_row(ever)
            totals.add_to_existing([ever], missing)
    return is_corrected


def _days_of_all() -> list[date]:
    """Return the days from the first record to tomorrow: another machine's clock may be ahead."""
    first = Prediction.objects.order_by("created_at").values_list("created_at", flat=True).first()
    today = timezone.now().date()
    start = first.astimezone(UTC).date() if first else today
    return Period(start, max(start, today + timedelta(days=1))).days
