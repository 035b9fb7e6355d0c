"""Outages of the database: kill the server, or rename a table of SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from tests.support.settings import MONGO, ON_SERVERS


@contextmanager
def lost_records(table: str) -> Iterator[None]:
    """Make each query of this table fail; with a server, each query of any table."""
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
