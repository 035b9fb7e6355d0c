"""Delete the totals of a deleted user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db.models.signals import post_delete
from django.dispatch import receiver

from detection.records.totals import forget_owner

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


@receiver(post_delete, sender=get_user_model())
def forget_totals(instance: AbstractUser, **about: object) -> None:
    """The predictions stay, without an owner."""
    forget_owner(instance.pk)
