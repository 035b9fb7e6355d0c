"""Users of the admin."""

from __future__ import annotations

from importlib import import_module

from django.contrib.auth.models import Group, Permission, User

migration = import_module("detection.migrations.0004_moderators")


def a_moderator(name: str = "mod", **fields) -> User:
    """Create a user in the group of moderators.

    Like the migration, also create the group: a test that empties the database deletes it, and
    every test on MongoDB does.
    """
    group, _ = Group.objects.get_or_create(name=migration.MODERATORS)
    group.permissions.set(Permission.objects.filter(codename__in=migration.PERMISSIONS))
    moderator = User.objects.create_user(name, is_staff=True, **fields)
    moderator.groups.add(group)
    return moderator
