"""Access tokens: shown once, stored as a hash."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import AbstractUser

from detection.models import AccessToken

DEFAULT_DAYS, MAX_DAYS = 365, 3650


def create_token(*, user: AbstractUser, name: str, lifetime: timedelta) -> tuple[AccessToken, str]:
    """Create a token; return it and its text, which is not stored."""
    return AccessToken.objects.create(user=user, name=name, expiry=lifetime)
