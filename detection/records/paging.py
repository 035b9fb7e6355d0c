"""Pages of records that stay where they are while new ones arrive.

A cursor names the record at the edge of a page, so nothing is counted and nothing is skipped. A
number of records to skip, also one within the same moment, moves with each record that arrives.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Model, QuerySet
from django.db.models.lookups import LessThan, LessThanOrEqual
from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST_SPAN, LAST_SPAN = timedelta(hours=1), timedelta(hours=16**3)  # that is 171 days
SHORTER = 2  # times as short is a part in which too much may be found
PIECES = 1000  # of a part; some are looked at first
ROOM = 1.5  # times as many records as are wanted are expected in a part, after some were found
QUICK_SECONDS = 0.02  # after a question as quick, the next one may be about much more
LONGEST_SECONDS = 0.5  # that a page is looked for, where what is asked for is hard to find
LAST_PK = 26 * "Z"  # after all of them
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
        older = Cursor("older", searched_to, LAST_PK)
    return Page(page, older, newer, searched_to)


def _look(
    records: QuerySet, size: int, cursor: Cursor | None
) -> tuple[list[Model], datetime | None]:
    """The first ``size`` of the records, or those until the moment where looking was given up.

    Not every server lets an index do the sorting, or stops at a limit. One that does not would read
    all the records for each page, where those of a few hours are enough. No part says "earlier, or
    at the same moment with a smaller id" either: few servers have an index for that. And what no
    index finds is looked for in parts that do not take long.
    """
    way = _Way.along(records, cursor)
    found = list(way.beside(cursor)[:size]) if cursor else []
    span, was_last, is_near, start = FIRST_SPAN, False, False, time.monotonic()
    fastest = math.inf  # seconds: the way to the database and back, also where it is far
    while len(found) < size and not was_last:
        asked = time.monotonic()
        if not found:  # how many there are is told by the parts that have some
            way.passed = timedelta()
        more = list(way.until(way.moment(span))[: size - len(found)])
        found += more
        way.pass_by(span)
        took, elapsed = time.monotonic() - asked, time.monotonic() - start
        fastest = min(fastest, took)
        wanted, is_quick = size - len(found), took - fastest <= QUICK_SECONDS
        # The next question is about twice as much.
        if wanted and not is_quick and elapsed + 2 * took > LONGEST_SECONDS:
            return found, way.edge
        was_last = (span >= LAST_SPAN and is_quick) or way.is_beyond_all
        wider = min(span * _growth(is_quick=is_quick, is_near=is_near), LAST_SPAN)
        if more:
            span = min(wider, max(FIRST_SPAN, way.passed * ROOM * wanted / len(found)))
        else:
            span = way.without_much(wider)
        is_near = not more and span < wider
    if len(found) < size:
        found += way.ahead[: size - len(found)]
    return found, None


def _growth(*, is_quick: bool, is_near: bool) -> int:
    """Of the next part; where many records are near, it is as long again."""
    if not is_quick:
        return 2
    return 1 if is_near else 16


@dataclass(slots=True)
class _Way:
    """Through the records from an edge in time on, to older or newer ones.

    Parts include their later end and not the earlier one: there are servers that leave out what
    was made at the very moment "from" which on they were asked.
    """

    records: QuerySet
    edge: datetime
    is_newer: bool
    side: str = ""  # of the edge, where the records are that were not looked at; empty: all of them
    passed: timedelta = timedelta()

    @classmethod
    def along(cls, records: QuerySet, cursor: Cursor | None) -> Self:
        if cursor:
            return cls(records, cursor.moment, cursor.is_newer, "gt" if cursor.is_newer else "lt")
        return cls(records, _newest_moment(records), is_newer=False)

    def moment(self, span: timedelta) -> datetime:
        return self.edge + span if self.is_newer else self.edge - span

    @property
    def is_beyond_all(self) -> bool:
        """Where there are no records but for clocks that are wrong by half a year or more."""
        if self.is_newer:
            return self.edge > timezone.now() + LAST_SPAN
        return self.edge < EPOCH

    def beside(self, cursor: Cursor) -> QuerySet:
        """The other records of the edge's moment."""
        side = "pk__gt" if self.is_newer else "pk__lt"
        return self.records.filter(created_at=cursor.moment, **{side: cursor.pk})

    @property
    def ahead(self) -> QuerySet:
        """Bounded by the last edge only: few databases find out which of several is the nearest."""
        if not self.side:
            return self.records
        return self.records.filter(**{f"created_at__{self.side}": self.edge})

    def until(self, bound: datetime) -> QuerySet:
        side = "created_at__lte" if self.is_newer else "created_at__gt"
        return self.ahead.filter(**{side: bound})

    def pass_by(self, span: timedelta) -> None:
        self.edge, self.side = self.moment(span), "gt" if self.is_newer else "lte"
        self.passed += span

    def without_much(self, span: timedelta) -> timedelta:
        """As long, or shorter where there are records in a small piece at its end or before its
        middle: there may be as many in all the pieces.
        """
        while span > FIRST_SPAN and any(
            self._piece(place, span / PIECES).exists() for place in (span, span / 2)
        ):
            span = max(span / SHORTER, FIRST_SPAN)
        return span

    def _piece(self, place: timedelta, length: timedelta) -> QuerySet:
        ends = sorted((self.moment(place - length), self.moment(place)))
        return self.records.filter(created_at__gt=ends[0], created_at__lte=ends[1]).order_by()


def _newest_moment(records: QuerySet) -> datetime:
    """Nothing newer is asked for, but for records of the future."""
    ends = [
        each.rhs
        for each in records.query.where.children
        if isinstance(each, LessThan | LessThanOrEqual)
        and getattr(each.lhs, "target", None) == records.model._meta.get_field("created_at")
    ]
    return min([timezone.now(), *ends])
