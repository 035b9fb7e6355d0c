"""A database of an earlier version is refused: its collections have other columns."""

from __future__ import annotations

from django.apps import apps
from django.core.management import CommandError
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.models.signals import pre_migrate
from django.dispatch import receiver


@receiver(pre_migrate, sender=apps.get_app_config("detection"))
def refuse_old_database(using: str, **about: object) -> None:
    """Raise CommandError where migrations were applied that this version does not have."""
    loader = MigrationLoader(connections[using])
    if any(
        app == "detection" and (app, name) not in loader.disk_migrations
        for app, name in loader.applied_migrations
    ):
        raise CommandError(
            "This database was made by an earlier version: export what you need with that version, "
            "then migrate a new database (another DATA_DIR or MONGODB_DATABASE)."
        )
