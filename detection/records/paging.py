"""Pages of records, which do not shift while new records arrive.

A cursor names the record at the edge of a page, so the database counts and skips nothing. Ids are
ULIDs: their order is that of time, and the index of the primary key serves each page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from django.db.models import Model, QuerySet

from detection.models import RECORD_ID, first_id, moment_of
from detection.records.name_search import find_by_name

MAX_READ = 100_000  # records that one page reads at most, if no index finds a name
CURSOR = f"^(older|newer)-({RECORD_ID})$"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The start of a page: beside the record with this id, on its older or newer side."""

    side: str
    pk: str

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Return the cursor that ``str`` writes as this text; None for any other text."""
        match = re.fullmatch(CURSOR, text)
        return cls(*match.groups()) if match else None

    @property
    def is_newer(self) -> bool:
        return self.side == "newer"

    def __str__(self) -> str:
        return f"{self.side}-{self.pk}"


@dataclass(frozen=True, slots=True)
class Page:
    """Records, newest first, and the cursors of the neighbouring pages where there are any.

    A search by name may end before the records do: then the page ends at ``searched_to``, and its
    neighbour continues there.
    """

    records: list[Model]
    older: Cursor | None
    newer: Cursor | None
    searched_to: datetime | None = None


def newest_first(
    records: QuerySet, *, size: int, cursor: Cursor | None = None, name: str = ""
) -> Page:
    """Return the page at the cursor, or the newest one. ``name`` is a part of the file names."""
    is_newer = cursor is not None and cursor.is_newer
    if cursor:
        records = records.filter(**{"pk__gt" if is_newer else "pk__lt": cursor.pk})
    records = records.order_by("pk" if is_newer else "-pk")
    records, end = _searched(records, name, is_newer=is_newer) if name else (records, None)
    found = list(records[: size + 1])
    page, has_more = found[:size], len(found) > size
    onward = page[-1].pk if has_more else end
    before = page[0].pk if page and cursor else None
    if is_newer:
        page.reverse()
    searched_to = moment_of(end) if end and not has_more else None
    older, newer = (before, onward) if is_newer else (onward, before)
    return Page(
        page,
        older=older and Cursor("older", older),
        newer=newer and Cursor("newer", newer),
        searched_to=searched_to,
    )


def _searched(records: QuerySet, name: str, *, is_newer: bool) -> tuple[QuerySet, str | None]:
    """Return the records with ``name`` in their file name, and the id of the last record that the
    search reads (None: it reads all records).
    """
    found, is_indexed = find_by_name(records, name)
    if is_indexed:
        return found, None
    ids = records.prefetch_related(None).values_list("pk", flat=True)
    last_and_next = list(ids[MAX_READ - 1 : MAX_READ + 1])
    if len(last_and_next) < 2:
        return found, None
    last = last_and_next[0]
    return found.filter(**{"pk__lte" if is_newer else "pk__gte": last}), last


def sent_between(
    records: QuerySet, *, start: datetime | None = None, end: datetime | None = None
) -> QuerySet:
    """Return the records sent from ``start`` on and before ``end``, as their ids say."""
    bounds = {"pk__gte": start, "pk__lt": end}
    return records.filter(**{side: first_id(each) for side, each in bounds.items() if each})
