"""Pages of records that stay where they are while new ones arrive.

A cursor names the record at the edge of a page, so nothing is counted and nothing is skipped. A
number of records to skip, also one within the same moment, moves with each record that arrives.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Model, QuerySet
from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST_SPAN, LAST_SPAN = timedelta(hours=1), timedelta(hours=16**3)  # that is 171 days
QUICK_SECONDS = 0.02  # after a question as quick, the next one may be about much more
LONGEST_SECONDS = 1.5  # that a page is looked for, where what is asked for is hard to find
FIRST_PK, LAST_PK = 26 * "0", 26 * "Z"  # before and after all of them
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
    """Records, newest first, and the cursors of the neighbouring pages where there are any.

    Where looking took too long, there may be more: the page ends at ``searched_to``, and its
    neighbour goes on there.
    """

    records: list[Model]
    older: Cursor | None
    newer: Cursor | None
    searched_to: datetime | None = None


def newest_first(records: QuerySet, *, size: int, cursor: Cursor | None) -> Page:
    """The page at the cursor, or the newest one, of records with a ``created_at``."""
    backwards = cursor is not None and cursor.is_newer
    ordering = ("created_at", "pk") if backwards else ("-created_at", "-pk")
    found, searched_to = _look(records.order_by(*ordering), size + 1, cursor)
    page, more = found[:size], len(found) > size
    if backwards:
        page.reverse()
    older = Cursor.beside(page[-1], "older") if page and (more or backwards) else None
    newer = Cursor.beside(page[0], "newer") if page and cursor and (more or not backwards) else None
    if searched_to and backwards:
        newer = Cursor("newer", searched_to, LAST_PK)
    elif searched_to:
        older = Cursor("older", searched_to, FIRST_PK)
    return Page(page, older, newer, searched_to)


def _look(
    records: QuerySet, size: int, cursor: Cursor | None
) -> tuple[list[Model], datetime | None]:
    """The first ``size`` of the records, or those until the moment where looking was given up."""
    found: list[Model] = []
    start = time.monotonic()
    for span, bound in _spans(records, cursor):
        asked = time.monotonic()
        found += span[: size - len(found)]
        if len(found) == size:
            break
        took, elapsed = time.monotonic() - asked, time.monotonic() - start
        # The next question is about twice as much.
        if bound and took > QUICK_SECONDS and elapsed + 2 * took > LONGEST_SECONDS:
            return found, bound
    return found, None


def _spans(records: QuerySet, cursor: Cursor | None) -> Iterator[tuple[QuerySet, datetime | None]]:
    """The other records of the edge's moment, those of an hour from it on, of more and more time,
    the rest; with the moment where a part ends at which looking may be given up.

    Not every server lets an index do the sorting. One that does not would read all the records
    for each page, where those of a few hours are enough. No part says "earlier, or at the same
    moment with a smaller id" either: few servers have an index for that. And what no index finds is
    looked for in parts that do not take long.
    """
    direction, within, past, beside = -1, "created_at__gte", "created_at__lt", "pk__lt"
    if cursor and cursor.is_newer:
        direction, within, past, beside = 1, "created_at__lte", "created_at__gt", "pk__gt"
    edge = cursor.moment if cursor else timezone.now()
    if cursor:
        yield records.filter(created_at=edge, **{beside: cursor.pk}), None
        records = records.filter(**{past: edge})
    span, is_quick = FIRST_SPAN, True
    while span <= LAST_SPAN or not is_quick:
        bound = edge + direction * span
        asked = time.monotonic()
        yield records.filter(**{within: bound}), bound
        is_quick = time.monotonic() - asked <= QUICK_SECONDS
        records = records.filter(**{past: bound})
        span *= 16 if is_quick else 2
    yield records, None
