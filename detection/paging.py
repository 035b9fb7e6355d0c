"""Pages of records that stay where they are while new ones arrive.

A cursor names the record at the edge of a page, so nothing is counted and nothing is skipped. A
number of records to skip, also one within the same moment, moves with each record that arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Model, Q, QuerySet
from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SPANS = [timedelta(hours=16**power) for power in range(4)]  # an hour to 171 days
CURSOR = "^(older|newer)-([0-9]{1,17})-([0-9A-Z]{26})$"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page starts: beside the record of that moment and id, on its older or newer side."""

    side: str
    moment: datetime
    pk: str

    @classmethod
    def beside(cls, record: Model, side: str) -> Self:
        return cls(side, record.created_at, record.pk)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The cursor that was written so; None for any other text."""
        match = re.fullmatch(CURSOR, text)
        if not match:
            return None
        side, microseconds, pk = match.groups()
        return cls(side, EPOCH + int(microseconds) * MICROSECOND, pk)

    @property
    def is_newer(self) -> bool:
        return self.side == "newer"

    def __str__(self) -> str:
        return f"{self.side}-{(self.moment - EPOCH) // MICROSECOND}-{self.pk}"


@dataclass(frozen=True, slots=True)
class Page:
    """Records, newest first, and the cursors of the neighbouring pages where there are any."""

    records: list[Model]
    older: Cursor | None
    newer: Cursor | None


def newest_first(records: QuerySet, *, size: int, cursor: Cursor | None) -> Page:
    """The page at the cursor, or the newest one, of records with a ``created_at``."""
    backwards = cursor is not None and cursor.is_newer
    ordering = ("created_at", "pk") if backwards else ("-created_at", "-pk")
    found: list[Model] = []
    for span in _spans(_beyond(records, cursor).order_by(*ordering), cursor):
        found += span[: size + 1 - len(found)]
        if len(found) > size:
            break
    page, more = found[:size], len(found) > size
    if backwards:
        page.reverse()
    has_older = page and (more or backwards)
    has_newer = page and cursor and (more or not backwards)
    return Page(
        records=page,
        older=Cursor.beside(page[-1], "older") if has_older else None,
        newer=Cursor.beside(page[0], "newer") if has_newer else None,
    )


def _spans(records: QuerySet, cursor: Cursor | None) -> Iterator[QuerySet]:
    """The records of an hour from the page's edge on, of more and more time after it, the rest.

    Not every server lets an index do the sorting. One that does not would read all the records
    for each page, where those of a few hours are enough.
    """
    direction, within, past = -1, "created_at__gte", "created_at__lt"
    if cursor and cursor.is_newer:
        direction, within, past = 1, "created_at__lte", "created_at__gt"
    edge = cursor.moment if cursor else timezone.now()
    for span in SPANS:
        bound = edge + direction * span
        yield records.filter(**{within: bound})
        records = records.filter(**{past: bound})
    yield records


def _beyond(records: QuerySet, cursor: Cursor | None) -> QuerySet:
    """What comes after the cursor; the bound on the moment alone is for the index."""
    if cursor is None:
        return records
    if cursor.is_newer:
        beside = Q(created_at__gt=cursor.moment) | Q(pk__gt=cursor.pk)
        return records.filter(beside, created_at__gte=cursor.moment)
    beside = Q(created_at__lt=cursor.moment) | Q(pk__lt=cursor.pk)
    return records.filter(beside, created_at__lte=cursor.moment)
