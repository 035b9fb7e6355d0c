"""Find predictions on the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from detection.models import Prediction
from detection.records.visibility import visible_predictions

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

MAX_SAME = 10  # other predictions on the same bytes that are shown
MAX_AT_ONCE = 100  # earlier records that are read to find the scores of some images


@dataclass(frozen=True, slots=True)
class Judged:
    """A fake score, and the earlier prediction that it is from (empty: it is new)."""

    fake_score: float
    prediction_id: str = ""


def find_judged(
    *, sha256s: Iterable[str], model_version: str, user: AbstractUser | None
) -> dict[str, Judged]:
    """Return scores by sha256 that this version of the model gave before, among the predictions
    that ``user`` may see.
    """
    unknown = set(sha256s)
    found: dict[str, Judged] = {}
    while unknown:
        earlier = visible_predictions(user).filter(sha256__in=unknown, model_version=model_version)
        records = list(earlier.order_by().values("sha256", "id", "fake_score")[:MAX_AT_ONCE])
        for each in sorted(records, key=itemgetter("id")):
            found.setdefault(each["sha256"], Judged(each["fake_score"], each["id"]))
        # An image that was sent a thousand times may fill the answer: ask again for the others.
        unknown = unknown - found.keys() if len(records) == MAX_AT_ONCE else set()
    return found


def same_bytes(prediction: Prediction) -> list[Prediction]:
    """Return other predictions on the same bytes, newest first."""
    others = Prediction.objects.filter(sha256=prediction.sha256).exclude(pk=prediction.pk)
    return list(others.order_by("-pk")[:MAX_SAME])
