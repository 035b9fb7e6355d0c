"""Outages of the database: servers are killed, tables of SQLite are renamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from tests.support.settings import MONGO, ON_SERVERS


@contextmanager
def lost_records(table: str) -> Iterator[None]:
    """Let each query to this table fail; a killed server fails at any query."""
    if ON_SERVERS:
        MONGO.kill()
        try:
            yield
        finally:
            MONGO.start()
        return
    _rename(table, f"lost_{table}")
    try:
        yield
    finally:
        _rename(f"lost_{table}", table)


def _rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")
