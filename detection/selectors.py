"""What is read from the records: who sees which, and what was judged before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import QuerySet

from detection.models import Prediction, PredictionBatch

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

MOST_SAME = 10  # other predictions on the same bytes that are shown


@dataclass(frozen=True, slots=True)
class Judged:
    """A fake score, and an earlier prediction that it was given to (empty: it is new)."""

    fake_score: float
    prediction_id: str = ""


def visible_predictions(user: AbstractUser | None) -> QuerySet[Prediction]:
    """What ``user`` may see; None is the project itself."""
    return _visible(Prediction.objects.all(), user)


def visible_batches(user: AbstractUser | None) -> QuerySet[PredictionBatch]:
    return _visible(PredictionBatch.objects.all(), user)


def sees_all(user: AbstractUser | None) -> bool:
    return settings.API_ACCESS == "open" or user is None or user.is_staff


def _visible(records: QuerySet, user: AbstractUser | None) -> QuerySet:
    return records if sees_all(user) else records.filter(owner=user.pk)


def find_judged(
    *, sha256s: Iterable[str], model_version: str, user: AbstractUser | None
) -> dict[str, Judged]:
    """Scores by sha256 that this version of the model gave before, among what ``user`` may see."""
    earlier = visible_predictions(user).filter(model_version=model_version)
    found = {}
    for sha256 in sha256s:
        # One at a time: of an image that was sent a thousand times, a single record is enough.
        for record in earlier.filter(sha256=sha256).order_by().values("id", "fake_score")[:1]:
            found[sha256] = Judged(record["fake_score"], record["id"])
    return found


def same_bytes(prediction: Prediction) -> list[Prediction]:
    """Other predictions on the same bytes, the newest of them first."""
    newest = Prediction.objects.filter(sha256=prediction.sha256).order_by("-created_at", "-pk")
    # Itself is left out here: so the question is one for the index.
    others = [each for each in newest[: MOST_SAME + 1] if each.pk != prediction.pk]
    return others[:MOST_SAME]
