"""Write and delete predictions together with their share of the totals."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from detection.models import Prediction
from detection.records import totals


def write_predictions(predictions: list[Prediction]) -> None:
    """Write all predictions or, where there are transactions, none."""
    with transaction.atomic():
        Prediction.objects.bulk_create(predictions)
        totals.count(predictions)


def delete_predictions(ids: Iterable[str]) -> list[Prediction]:
    """Delete the predictions with these ids; return those that existed, as they were at the end."""
    deleted = []
    with transaction.atomic():
        left = list(Prediction.objects.filter(pk__in=ids))
        while left:
            missed = [each.pk for each in left if not _delete(each)]
            deleted += [each for each in left if each.pk not in missed]
            # Missed records were reviewed since they were read, or deleted by another request.
            left = list(Prediction.objects.filter(pk__in=missed)) if missed else []
    return deleted


def _delete(prediction: Prediction) -> bool:
    """Delete the record if it is still as it was read: the totals counted it as that."""
    seen = Prediction.objects.filter(pk=prediction.pk, review_revision=prediction.review_revision)
    is_deleted = bool(seen.delete()[0])
    if is_deleted:
        totals.discount(prediction)
    return is_deleted
