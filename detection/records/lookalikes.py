"""Find look-alikes: earlier predictions on nearly the same picture, changed or not.

Each prediction has rows in an index, one for each region of its picture, with its hash cut into
bands. Two pictures whose hashes agree in a band, but for one bit at most, are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import AbstractUser

from detection.errors import UnavailableError, database_errors
from detection.models import PerceptualHash, Prediction
from detection.records.perceptual_hash import BAND_BITS, REGIONS, bands, distance, mirrored
from detection.records.visibility import visible_predictions

logger = logging.getLogger(__name__)

MAX_DISTANCE = 68  # bits of 256: at most one false match in a million pairs, see docs/measurements
MAX_SIMILAR = 20  # look-alikes that are shown
MAX_COMPARED = 1000  # rows for each band: a picture may have been sent that often

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
    return _others_like(prediction, user=user)[:MAX_SIMILAR]


def _others_like(prediction: Prediction, *, user: AbstractUser | None) -> list[Lookalike]:
    rows = PerceptualHash.objects.filter(pk__in=_row_ids(prediction)).order_by("pk")
    hashes = [int(bits, 16) for bits in rows.values_list("bits", flat=True)]
    if not hashes:  # an image without content
        return []
    found = find_lookalikes(hashes, user=user)
    return [each for each in found if each.prediction.pk != prediction.pk]


def nearest_earlier(prediction: Prediction, *, user: AbstractUser | None) -> Lookalike | None:
    """Return the nearest look-alike that was judged before."""
    found = _readable_others(prediction, user)
    return next((each for each in found if each.prediction.pk < prediction.pk), None)


def nearest_reviewed(prediction: Prediction, *, user: AbstractUser | None) -> Lookalike | None:
    """Return the nearest look-alike that a reviewer decided on."""
    found = _readable_others(prediction, user)
    return next((each for each in found if each.prediction.is_reviewed), None)


def _readable_others(prediction: Prediction, user: AbstractUser | None) -> list[Lookalike]:
    """Return none without a database: the verdict itself can be shown all the same."""
    try:
        with database_errors():
            return _others_like(prediction, user=user)
    except UnavailableError as error:
        logger.warning("The look-alikes of %s cannot be read: %s", prediction.pk, error)
        return []


def find_lookalikes(hashes: Sequence[int], *, user: AbstractUser | None) -> list[Lookalike]:
    """Return the predictions on pictures like that with the perceptual hashes, or on its mirror
    image, that ``user`` may see, the nearest first.
    """
    sought = (*hashes, mirrored(hashes[0]))
    nearest: dict[str, int] = {}
    for row_id, bits in _candidates(sought):
        found = min(distance(each, int(bits, 16)) for each in sought)
        record_id, _, _ = row_id.partition("-")
        if found <= min(nearest.get(record_id, MAX_DISTANCE), MAX_DISTANCE):
            nearest[record_id] = found
    records = visible_predictions(user).filter(pk__in=nearest).order_by()
    found = [Lookalike(record, nearest[record.pk]) for record in records]
    return sorted(found, key=lambda each: (each.distance, each.prediction.pk))


def agreement_of(prediction: Prediction, hashes: Sequence[int]) -> str:
    """Return whether the model agrees with its verdict on the nearest similar picture, of other
    bytes: an ``Agreement``, or "" without such a picture. ``prediction`` is not stored yet.
    """
    for earlier in find_lookalikes(hashes, user=None):
        other = earlier.prediction
        if other.sha256 != prediction.sha256 and other.model_version == prediction.model_version:
            agrees = other.label == prediction.label
            return Prediction.Agreement.AGREES if agrees else Prediction.Agreement.CONTRADICTS
    return ""


def _row_ids(prediction: Prediction) -> list[str]:
    return [f"{prediction.pk}-{region}" for region in range(REGIONS)]


def _candidates(sought: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield ids and bits of the rows to compare with the hashes."""
    for place, values in enumerate(zip(*map(bands, sought), strict=True)):
        rows = PerceptualHash.objects.filter(**_near(place, values))
        yield from rows.values_list("pk", "bits")[:MAX_COMPARED]


def _near(place: int, values: Iterable[int]) -> dict[str, list[int]]:
    """Select rows whose band at this place has one of the values, but for one bit at most."""
    return {f"band_{place}__in": [value ^ flip for value in values for flip in _FLIPS]}
