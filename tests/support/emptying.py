"""Empties the database between tests, much faster than ``flush``."""

from __future__ import annotations

from django.core.management.color import no_style
from django.db import connection

# The same in each test; ``flush`` deletes them, and then asks for each model if they are there.
KEPT = {"django_content_type", "auth_permission"}


def empty_database() -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    emptied = [table for table in tables if table not in KEPT]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), emptied))
