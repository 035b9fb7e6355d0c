"""Tokens that let programs use the API."""

from __future__ import annotations

from django.db import models
from knox.models import AbstractAuthToken
from knox.settings import CONSTANTS

from detection.models.ids import primary_key

DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS = 365, 3650  # for which a token is valid


class AccessToken(AbstractAuthToken):
    """Lets a program use the API as a user. Only its hash is stored; deleting it revokes it.

    ``objects.create`` returns the token, and its text, which is not stored.
    """

    digest = primary_key(CONSTANTS.DIGEST_LENGTH)
    name = models.CharField(max_length=100, help_text="What uses it, for example: newsroom CMS")

    class Meta:
        db_table = "access_tokens"
        ordering = ["-created"]
        indexes = [models.Index(fields=["-created"], name="token_created")]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key[:8]}…)"
