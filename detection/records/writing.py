"""Write and delete predictions together with their share of the totals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from django.db import transaction

from detection.models import PerceptualHash, Prediction
from detection.records import totals
from detection.records.lookalikes import delete_index_rows, index_rows


def write_predictions(
    predictions: list[Prediction], hashes: Mapping[str, Sequence[int]] | None = None
) -> None:
    """Write all predictions or, where there are transactions, none. ``hashes`` are the perceptual
    hashes of their pictures, by id.
    """
    rows = [index_rows(each, (hashes or {}).get(each.pk, ())) for each in predictions]
    with transaction.atomic():
        Prediction.objects.bulk_create(predictions)
        PerceptualHash.objects.bulk_create(chain.from_iterable(rows))
        totals.count(predictions)


def delete_predictions(ids: Iterable[str]) -> list[Prediction]:
    """Delete the predictions with these ids; return them as they were when they were deleted."""
    deleted = []
    with transaction.atomic():
        left = list(Prediction.objects.filter(pk__in=ids))
        while left:
            missed = [each.pk for each in left if not _delete(each)]
            deleted += [each for each in left if each.pk not in missed]
            # Others have reviewed, inspected or deleted the missed records since they were read.
            left = list(Prediction.objects.filter(pk__in=missed)) if missed else []
    return deleted


def _delete(prediction: Prediction) -> bool:
    """Delete the record and its share of the totals, if the record has not changed since it was
    read. Return whether it was deleted.
    """
    seen = Prediction.objects.filter(
        pk=prediction.pk,
        review_revision=prediction.review_revision,
        declares=prediction.declares,
    )
    is_deleted = bool(seen.delete()[0])
    if is_deleted:
        delete_index_rows([prediction])
        totals.discount(prediction)
    return is_deleted
