"""Pages of the history, with links to the next and the previous page."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from detection.models import Prediction
from detection.records import CURSOR, Cursor, paging

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


@extend_schema_field({"type": "string", "pattern": CURSOR})
class CursorField(serializers.CharField):
    default_error_messages = {"invalid": "Use the cursor of a next or previous link."}

    def __init__(self, **options) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: str) -> Cursor:
        cursor = Cursor.read(super().to_internal_value(data))
        if cursor is None:
            self.fail("invalid")
        return cursor


def newest_first(
    predictions: QuerySet[Prediction],
    request: Request,
    *,
    size: int,
    cursor: Cursor | None,
    name: str,
) -> dict[str, object]:
    """Return one page, newest first, with links to the next and the previous page. ``name`` selects
    file names that contain it; empty: all.
    """
    page = paging.newest_first(predictions, size=size, cursor=cursor, name=name)

    def link(to: Cursor | None) -> str | None:
        return to and replace_query_param(request.build_absolute_uri(), "cursor", str(to))

    return {
        "count": len(page.records),
        "next": link(page.older),
        "previous": link(page.newer),
        "searched_to": page.searched_to,
        "predictions": page.records,
    }
