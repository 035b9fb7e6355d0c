"""Pages of the history that stay where they are while new records arrive.

A cursor names the record at the edge of a page. REST framework's own counts records of the same
moment instead, and a batch has many of those: an offset moves with each record that arrives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from detection.models import Prediction

DEFAULT_LIMIT = 10
MAX_LIMIT = 100

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CURSOR = "^(older|newer)-([0-9]{1,17})-([0-9A-Z]{26})$"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page starts: beside the record of that moment and id, on its older or newer side."""

    side: str
    moment: datetime
    pk: str

    @classmethod
    def beside(cls, record: Prediction, side: str) -> Self:
        return cls(side, record.created_at, record.pk)

    @property
    def is_newer(self) -> bool:
        return self.side == "newer"

    def __str__(self) -> str:
        return f"{self.side}-{(self.moment - EPOCH) // MICROSECOND}-{self.pk}"


@extend_schema_field({"type": "string", "pattern": CURSOR})
class CursorField(serializers.CharField):
    default_error_messages = {"invalid": "Take it from the next or previous link of a page."}

    def __init__(self, **options) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: str) -> Cursor:
        match = re.fullmatch(CURSOR, super().to_internal_value(data))
        if not match:
            self.fail("invalid")
        side, microseconds, pk = match.groups()
        return Cursor(side, EPOCH + int(microseconds) * MICROSECOND, pk)


def newest_first(
    predictions: QuerySet[Prediction], request: Request, *, size: int, cursor: Cursor | None
) -> dict[str, object]:
    """One page, always newest first, with the links to its neighbours."""
    backwards = cursor is not None and cursor.is_newer
    ordering = ("created_at", "pk") if backwards else ("-created_at", "-pk")
    found = list(_beyond(predictions, cursor).order_by(*ordering)[: size + 1])
    page, more = found[:size], len(found) > size
    if backwards:
        page.reverse()

    def link(record: Prediction, side: str) -> str:
        return replace_query_param(
            request.build_absolute_uri(), "cursor", str(Cursor.beside(record, side))
        )

    return {
        "count": len(page),
        "next": link(page[-1], "older") if page and (more or backwards) else None,
        "previous": link(page[0], "newer") if page and cursor and (more or not backwards) else None,
        "predictions": page,
    }


def _beyond(predictions: QuerySet[Prediction], cursor: Cursor | None) -> QuerySet[Prediction]:
    """What comes after the cursor; the bound on the moment alone is for the index."""
    if cursor is None:
        return predictions
    if cursor.is_newer:
        beside = Q(created_at__gt=cursor.moment) | Q(pk__gt=cursor.pk)
        return predictions.filter(beside, created_at__gte=cursor.moment)
    beside = Q(created_at__lt=cursor.moment) | Q(pk__lt=cursor.pk)
    return predictions.filter(beside, created_at__lte=cursor.moment)
