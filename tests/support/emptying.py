"""Empty the database between tests, much faster than ``flush``."""

from __future__ import annotations

from django.core.management.color import no_style
from django.db import connection
from pymongo import monitoring

# Written by the migrations and equal in each test.
UNCHANGED = {
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_content_type",
    "django_migrations",
}


class Writes(monitoring.CommandListener):
    """Collects the names of the collections that this process writes to."""

    def __init__(self) -> None:
        self.collections: set[str] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("insert", "update", "findAndModify"):
            collection = event.command[event.command_name]
            if collection not in UNCHANGED:
                self.collections.add(collection)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


writes = Writes()
monitoring.register(writes)


def empty_database() -> None:
    if connection.vendor == "mongodb":
        while writes.collections:
            connection.database[writes.collections.pop()].delete_many({})
        return
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    emptied = [table for table in tables if table not in UNCHANGED]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), emptied))
