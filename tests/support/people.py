"""Users of the admin."""

from __future__ import annotations

from importlib import import_module

from django.contrib.auth.models import Group, Permission, User

migration = import_module("detection.migrations.0004_moderators")


def a_moderator(name: str = "mod", **fields) -> User:
    """Somebody in the group of those who review.

    The group is filled here, as the migration does: a test that empties its database, and each on
    MongoDB does, leaves none to those that come after it.
    """
    group, _ = Group.objects.get_or_create(name=migration.MODERATORS)
    group.permissions.set(Permission.objects.filter(codename__in=migration.PERMISSIONS))
    moderator = User.objects.create_user(name, is_staff=True, **fields)
    moderator.groups.add(group)
    return moderator
