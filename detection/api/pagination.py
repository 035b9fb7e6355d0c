from __future__ import annotations

from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


class NewestFirst(CursorPagination):
    """Pages that stay where they are while new records arrive; the view sets ``page_size``."""

    ordering = ("-created_at", "-id")

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
        except NotFound as error:
            raise _bad_cursor() from error
        if cursor and cursor.position is not None and not _is_moment(cursor.position):
            raise _bad_cursor()
        return cursor


def _is_moment(text: str) -> bool:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return False
    return moment is not None and moment.tzinfo is not None


def _bad_cursor() -> ValidationError:
    return ValidationError({"cursor": "Take it from the next or previous link of a page."})
