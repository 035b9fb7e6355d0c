"""Delete the totals of a deleted user."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db.models.signals import post_delete
from django.dispatch import receiver

from detection.records.totals import forget_owner


@receiver(post_delete, sender=get_user_model())
def forget_totals(instance: AbstractUser, **about: object) -> None:
    """The predictions stay, without an owner."""
    forget_owner(instance.pk)
