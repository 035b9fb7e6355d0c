"""Users of the admin."""

from __future__ import annotations

from django.contrib.auth.models import Group, User


def a_moderator(name: str = "mod", **fields) -> User:
    """Create a user in the group of moderators."""
    moderator = User.objects.create_user(name, is_staff=True, **fields)
    moderator.groups.add(Group.objects.get(name="Moderators"))
    return moderator
