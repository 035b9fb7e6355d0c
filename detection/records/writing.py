"""Predictions are written and deleted together with what they add to the totals."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from detection.models import Prediction
from detection.records import totals


def write_prediction(prediction: Prediction) -> None:
    write_predictions([prediction])


def write_predictions(predictions: list[Prediction]) -> None:
    """All of them at once, where there are transactions."""
    with transaction.atomic():
        Prediction.objects.bulk_create(predictions)
        totals.count(predictions)


def delete_predictions(ids: Iterable[str]) -> list[Prediction]:
    """Deletes what there is of these and gives it, as it was when it was deleted."""
    deleted = []
    with transaction.atomic():
        waiting = list(Prediction.objects.filter(pk__in=ids))
        while waiting:
            missed = [each.pk for each in waiting if not _delete(each)]
            deleted += [each for each in waiting if each.pk not in missed]
            # Those were reviewed since they were read, or somebody else has deleted them.
            waiting = list(Prediction.objects.filter(pk__in=missed)) if missed else []
    return deleted


def _delete(prediction: Prediction) -> bool:
    """Where the record is as it was read: so it is known what it was counted as."""
    seen = Prediction.objects.filter(pk=prediction.pk, review_revision=prediction.review_revision)
    is_deleted = bool(seen.delete()[0])
    if is_deleted:
        totals.discount(prediction)
    return is_deleted
