"""Find look-alikes: predictions on nearly the same picture, changed or not.

Each prediction has rows in an index, one for each region of its picture, with its hash cut into
bands. Two pictures whose hashes agree in a band, but for one bit at most, are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from detection.errors import UnavailableError, database_errors
from detection.models import PerceptualHash, Prediction
from detection.records.perceptual_hash import BAND_BITS, REGIONS, bands, distance, mirrored
from detection.records.visibility import visible_predictions

logger = logging.getLogger(__name__)

MAX_DISTANCE = 68  # bits of 256: at most one false match in a million pairs, see docs/measurements
MAX_SIMILAR = 20  # look-alikes that are shown
MAX_COMPARED = 1000  # rows for each band, since a picture may have been sent very often
LOADED_TOGETHER = 20  # records: most callers need the first one, or MAX_SIMILAR

_FLIPS = [0, *(1 << bit for bit in range(BAND_BITS))]


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A prediction on a similar picture. ``distance`` is the number of differing bits of 256."""

    prediction: Prediction
    distance: int


def index_rows(prediction: Prediction, hashes: Sequence[int]) -> Iterator[PerceptualHash]:
    """Yield the rows of the index for a prediction. The first hash is that of the whole picture."""
    for row_id, perceptual_hash in zip(_row_ids(prediction), hashes, strict=False):
        numbered = {f"band_{place}": value for place, value in enumerate(bands(perceptual_hash))}
        yield PerceptualHash(id=row_id, bits=f"{perceptual_hash:064x}", **numbered)


def delete_index_rows(predictions: Iterable[Prediction]) -> None:
    rows = [row_id for each in predictions for row_id in _row_ids(each)]
    PerceptualHash.objects.filter(pk__in=rows).delete()


def lookalikes_of(prediction: Prediction, *, user: AbstractUser | None) -> list[Lookalike]:
    """Return the predictions on similar pictures that ``user`` may see, the nearest first, without
    the prediction itself; at most MAX_SIMILAR.
    """
    return list(islice(_others_like(prediction, among=visible_predictions(user)), MAX_SIMILAR))


def nearest_earlier(prediction: Prediction, *, user: AbstractUser | None) -> Lookalike | None:
    """Return the nearest look-alike that was judged before ``prediction``."""
    return _nearest(prediction, among=visible_predictions(user).filter(pk__lt=prediction.pk))


def nearest_reviewed(prediction: Prediction, *, user: AbstractUser | None) -> Lookalike | None:
    """Return the nearest look-alike that a reviewer decided on."""
    unreviewed = Prediction.Review.UNREVIEWED
    reviewed = visible_predictions(user).exclude(review_status=unreviewed)
    return _nearest(prediction, among=reviewed)


def _nearest(prediction: Prediction, *, among: QuerySet[Prediction]) -> Lookalike | None:
    """Return the nearest look-alike, or None. During an outage of the database return None too,
    since the verdict can be shown without look-alikes.
    """
    try:
        with database_errors():
            return next(_others_like(prediction, among=among), None)
    except UnavailableError as error:
        logger.warning("The look-alikes of %s cannot be read: %s", prediction.pk, error)
        return None


def _others_like(prediction: Prediction, *, among: QuerySet[Prediction]) -> Iterator[Lookalike]:
    rows = PerceptualHash.objects.filter(pk__in=_row_ids(prediction)).order_by("pk")
    hashes = [int(bits, 16) for bits in rows.values_list("bits", flat=True)]
    if hashes:  # an image without content has none
        yield from find_lookalikes(hashes, among=among.exclude(pk=prediction.pk))


def find_lookalikes(hashes: Sequence[int], *, among: QuerySet[Prediction]) -> Iterator[Lookalike]:
    """Yield the predictions on pictures that resemble the picture with these hashes, or its mirror
    image; the nearest first. The first hash is that of the whole picture.
    """
    distances = _distances((*hashes, mirrored(hashes[0])))
    nearest = sorted(distances, key=lambda pk: (distances[pk], pk))
    for start in range(0, len(nearest), LOADED_TOGETHER):
        ids = nearest[start : start + LOADED_TOGETHER]
        records = among.in_bulk(ids)
        yield from (Lookalike(records[pk], distances[pk]) for pk in ids if pk in records)


def agreement_of(prediction: Prediction, hashes: Sequence[int]) -> str:
    """Return whether the model gave the nearest similar picture with other bytes the same label: an
    ``Agreement``, or "" without such a picture. ``prediction`` is not stored yet.
    """
    comparable = Prediction.objects.filter(model_version=prediction.model_version)
    others = comparable.exclude(sha256=prediction.sha256)
    for nearest in find_lookalikes(hashes, among=others):
        agrees = nearest.prediction.label == prediction.label
        return Prediction.Agreement.AGREES if agrees else Prediction.Agreement.CONTRADICTS
    return ""


def _distances(sought: Sequence[int]) -> dict[str, int]:
    """Return the distance of each prediction that resembles one of the hashes, by its id."""
    found: dict[str, int] = {}
    for row_id, bits in dict(_candidates(sought)).items():  # several bands find the same row
        nearest = min(distance(each, int(bits, 16)) for each in sought)
        if nearest <= MAX_DISTANCE:
            record_id, _, _ = row_id.partition("-")
            found[record_id] = min(nearest, found.get(record_id, nearest))
    return found


def _row_ids(prediction: Prediction) -> list[str]:
    return [f"{prediction.pk}-{region}" for region in range(REGIONS)]


def _candidates(sought: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield ids and bits of the rows to compare with the hashes."""
    for place, values in enumerate(zip(*map(bands, sought), strict=True)):
        rows = PerceptualHash.objects.filter(**_near(place, values))
        yield from rows.values_list("pk", "bits")[:MAX_COMPARED]


def _near(place: int, values: Iterable[int]) -> dict[str, set[int]]:
    """Return a filter for rows whose band at this place has one of the values, but for one bit at
    most.
    """
    return {f"band_{place}__in": {value ^ flip for value in values for flip in _FLIPS}}
