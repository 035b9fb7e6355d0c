"""Totals of the predictions, updated with each write, so that statistics never read all records.

Each prediction counts in the rows of its day and of all days, and in the same rows of its owner. A
row is for one model version and holds numbers by name. The database itself adds to the numbers, so
that concurrent writers lose nothing. There are two kinds of rows: usage, which most requests need,
and the spread of scores and latencies.

Code that writes, reviews or deletes a prediction updates the totals in the same transaction
(``detection.records.writing``, ``detection.review.decisions``). MongoDB is used without
transactions: there, ``detection.upkeep.recounting`` finds what a killed process did not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, JSONField, QuerySet
from django.db.models.signals import post_delete
from django.db.models.sql.compiler import SQLCompiler
from django.dispatch import receiver

from detection.models import Prediction, Total

EVER = "ever"
ALL_USERS = ""
SCORE_UNIT = 10**9  # scores are added as whole numbers, whose sum has no rounding errors
SCORE_BINS = 20
USAGE, SPREAD = "usage", "spread"
FIELDS_OF = {USAGE: ("counts", "score_sums", "declared"), SPREAD: ("score_bins", "latencies")}
FIELDS = (*FIELDS_OF[USAGE], *FIELDS_OF[SPREAD])
NAMES_AT_ONCE = 40

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """The name of a row of totals. Its key sorts by owner, by kind, then by day."""

    owner: str
    kind: str
    span: str
    model_version: str

    @property
    def key(self) -> str:
        return f"{self.owner}/{self.kind}/{self.span}/{self.model_version}"

    def __str__(self) -> str:
        whose = f"of the owner {self.owner}" if self.owner else "of all users"
        return f"{self.kind} of {self.span}, model {self.model_version}, {whose}"


def rows_of(prediction: Prediction, kind: str) -> list[Row]:
    """Return the rows in which a prediction counts."""
    owners = [ALL_USERS, str(prediction.owner_id)] if prediction.owner_id else [ALL_USERS]
    spans = str(prediction.created_at.astimezone(UTC).date()), EVER
    return [Row(owner, kind, span, prediction.model_version) for owner in owners for span in spans]


def shares_of(prediction: Prediction) -> dict[str, dict[str, int]]:
    """Return what a prediction adds to each of its rows, by kind."""
    place = min(int(prediction.fake_score * SCORE_BINS), SCORE_BINS - 1)
    spread = {f"score_bins/{prediction.label}/{place}": 1}
    if not prediction.duplicate_of:  # the score of a duplicate was known
        spread[f"latencies/{two_digits(prediction.duration_ms)}"] = 1
    usage = _in_group(prediction, _group(prediction, prediction.review_status))
    usage |= declared_share(prediction.declares)
    return {USAGE: usage, SPREAD: spread}


def declared_share(declares: str) -> dict[str, int]:
    """Return what a declaration adds to the rows of usage."""
    return {f"declared/{declares}": 1} if declares else {}


def two_digits(milliseconds: int) -> int:
    """Round to the first two digits: 87, 340, 1200."""
    unit = 10 ** max(len(str(milliseconds)) - 2, 0)
    return (milliseconds + unit // 2) // unit * unit


def _group(prediction: Prediction, review_status: str) -> str:
    certainty = "uncertain" if prediction.uncertain else "certain"
    return f"{prediction.label}/{certainty}/{review_status}"


def _in_group(prediction: Prediction, group: str) -> dict[str, int]:
    score = round(prediction.fake_score * SCORE_UNIT)
    return {f"counts/{group}": 1, f"score_sums/{group}": score}


def count(predictions: Iterable[Prediction]) -> None:
    """Add new predictions to their rows. One command changes all rows that get the same numbers."""
    counted = tally(predictions)
    existing = set(_stored(counted).values_list("pk", flat=True))
    rows_by_counts: dict[frozenset[tuple[str, int]], list[Row]] = defaultdict(list)
    for row, counts in counted.items():
        if row.key in existing or not make_row(row, counts):
            rows_by_counts[frozenset(counts.items())].append(row)
    for counts, rows in rows_by_counts.items():
        add_to_existing(rows, dict(counts))


def discount(prediction: Prediction) -> None:
    """Subtract a deleted prediction, given as it was when it was deleted."""
    for kind, share in shares_of(prediction).items():
        less = {name: -number for name, number in share.items()}
        add_to_existing(rows_of(prediction, kind), less)


def count_review(prediction: Prediction, *, before: str) -> None:
    """Count a prediction under its review status, and no longer under the status ``before``."""
    moved = Counter(_in_group(prediction, _group(prediction, prediction.review_status)))
    moved.subtract(_in_group(prediction, _group(prediction, before)))
    add_to_existing(rows_of(prediction, USAGE), moved)


@receiver(post_delete, sender=get_user_model())
def forget_owner(instance: AbstractUser, **signal: object) -> None:
    """Delete the rows of a deleted user. The rows of all users together stay; the predictions stay
    too, without an owner.
    """
    _between(f"{instance.pk}/", f"{instance.pk}0").delete()


def add_to_existing(rows: Iterable[Row], by: Counts) -> None:
    """Add the numbers ``by`` to those of the rows that exist, in one command."""
    if any(by.values()):
        add_to(_stored(rows), by)


def _stored(rows: Iterable[Row]) -> QuerySet[Total]:
    return Total.objects.filter(pk__in=[row.key for row in rows])


def add_to(rows: QuerySet[Total], by: Counts) -> int:
    """Add the numbers ``by`` to the rows; return how many rows there were."""
    more = {field: _Plus(field, by=part) for field, part in by_field(by).items() if part}
    return rows.update(**more, revision=F("revision") + 1)


def by_field(counts: Counts) -> dict[str, dict[str, int]]:
    """Return the numbers by field. Each name begins with its field."""
    fields: dict[str, dict[str, int]] = {name: {} for name in FIELDS}
    for name, number in counts.items():
        field, _, rest = name.partition("/")
        if number:
            fields[field][rest] = number
    return fields


def counts_of(total: Total) -> dict[str, int]:
    return {
        f"{field}/{name}": number
        for field in FIELDS
        for name, number in getattr(total, field).items()
    }


def make_row(row: Row, counts: Counts | None = None) -> bool:
    """Create a row; return False where another process has created it."""
    _, is_new = Total.objects.get_or_create(
        id=row.key, defaults={**asdict(row), **by_field(counts or {})}
    )
    return is_new


def _between(first: str, end: str) -> QuerySet[Total]:
    """Return the rows with keys from ``first`` on and before ``end``.

    Callers end ``end`` with ``0``, which is the character after ``/``.
    """
    return Total.objects.filter(pk__gte=first, pk__lt=end)


def days_between(
    first: date | str, last: date | str, *, kind: str = USAGE, owner: str = ALL_USERS
) -> QuerySet[Total]:
    """Return the rows of the days from ``first`` to ``last``."""
    return _between(f"{owner}/{kind}/{first}/", f"{owner}/{kind}/{last}0")


def all_days(*, kind: str = USAGE, owner: str = ALL_USERS) -> QuerySet[Total]:
    """Return the rows of all days together, one for each version of the model."""
    return days_between(EVER, EVER, kind=kind, owner=owner)


def groups_of(total: Total) -> Iterator[dict[str, Any]]:
    """Yield ``count`` and ``score_sum`` by label, certainty and review status; empty groups are
    left out.
    """
    for group, number in total.counts.items():
        if number:
            label, certainty, review_status = group.split("/")
            yield {
                "label": label,
                "uncertain": certainty == "uncertain",
                "review_status": review_status,
                "count": number,
                "score_sum": total.score_sums.get(group, 0) / SCORE_UNIT,
            }


def tally(predictions: Iterable[Prediction]) -> dict[Row, Counter[str]]:
    """Count predictions: return the numbers of all rows in which they count."""
    counted: dict[Row, Counter[str]] = defaultdict(Counter)
    for prediction in predictions:
        for kind, share in shares_of(prediction).items():
            for row in rows_of(prediction, kind):
                counted[row].update(share)
    return counted


class _Plus(Func):
    """The value of a field that holds numbers by name, with ``by`` added to the numbers."""

    output_field = JSONField()

    def __init__(self, field: str | F, *, by: Counts) -> None:
        super().__init__(field)
        self.by = by

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, list[Any]]:
        """Nest calls, each for some names: SQLite's functions accept a hundred arguments."""
        column, _ = compiler.compile(self.source_expressions[0])
        sql, parameters, rest = column, [], iter(self.by.items())
        while some := [(f'$."{name}"', number) for name, number in islice(rest, NAMES_AT_ONCE)]:
            pair = f"%s, IFNULL(JSON_EXTRACT({column}, %s), 0) + %s"
            sql = f"JSON_SET({sql}, {', '.join([pair] * len(some))})"
            parameters += [each for path, number in some for each in (path, path, number)]
        return sql, parameters

    def as_mql_expr(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        field = self.source_expressions[0].as_mql(compiler, connection, as_expr=True)
        sums = {
            name: {"$add": [{"$ifNull": [f"{field}.{name}", 0]}, number]}
            for name, number in self.by.items()
        }
        return {"$mergeObjects": [field, sums]}
