"""The database queries of an action."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection
from django.test.utils import CaptureQueriesContext


def queries_of(action: Callable[[], object]) -> list[str]:
    """Return the SQL statements, or the MongoDB commands, that the action sends."""
    with CaptureQueriesContext(connection) as queries:
        action()
    return [query["sql"] for query in queries.captured_queries]
