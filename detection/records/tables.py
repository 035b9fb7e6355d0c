"""Refuse a database without the tables and indexes of this version, in one sentence."""

from __future__ import annotations

from django.apps import apps
from django.core.management import CommandError
from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.models.signals import pre_migrate
from django.dispatch import receiver

from detection.errors import MissingTablesError, database_errors


def check_tables() -> None:
    """Check that all migrations were applied. Raises MissingTablesError, and
    DatabaseUnavailableError.
    """
    with database_errors():
        loader = MigrationLoader(connection)
    if not loader.applied_migrations.keys() >= {*loader.graph.leaf_nodes()}:
        raise MissingTablesError


@receiver(pre_migrate, sender=apps.get_app_config("detection"))
def refuse_old_database(using: str, **signal: object) -> None:
    """Raise CommandError if migrations were applied that this version does not have."""
    loader = MigrationLoader(connections[using])
    if any(
        app == "detection" and (app, name) not in loader.disk_migrations
        for app, name in loader.applied_migrations
    ):
        raise CommandError(
            "This database was made by an earlier version: export what you need with that version, "
            "then migrate a new database (another DATA_DIR or MONGODB_DATABASE)."
        )
