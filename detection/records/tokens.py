"""Access tokens: made here, shown once, kept as a hash."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from detection.models import AccessToken

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


DEFAULT_DAYS, MAX_DAYS = 365, 3650


def create_token(*, user: AbstractUser, name: str, lifetime: timedelta) -> tuple[AccessToken, str]:
    """A new token and its text, which cannot be told again."""
    return AccessToken.objects.create(user=user, name=name, expiry=lifetime)
