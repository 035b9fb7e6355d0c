"""Which records a user may see."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from detection.models import Prediction, PredictionBatch


def visible_predictions(user: AbstractUser | None) -> QuerySet[Prediction]:
    """Return the predictions that ``user`` may see; None is the service itself."""
    return _visible(Prediction.objects.all(), user)


def visible_batches(user: AbstractUser | None) -> QuerySet[PredictionBatch]:
    return _visible(PredictionBatch.objects.all(), user)


def sees_all(user: AbstractUser | None) -> bool:
    return settings.API_ACCESS == "open" or user is None or user.is_staff


def _visible(records: QuerySet, user: AbstractUser | None) -> QuerySet:
    return records if sees_all(user) else records.filter(owner=user.pk)
