"""Predictions on the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from django.db.models import QuerySet

from detection.models import Prediction

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser
from detection.records.visibility import _visible

MAX_SAME = 10  # other predictions on the same bytes that are shown


MAX_AT_ONCE = 100  # earlier records that are read to find the scores of some images


@dataclass(frozen=True, slots=True)
class Judged:
    """A fake score, and an earlier prediction that it was given to (empty: it is new)."""

    fake_score: float
    prediction_id: str = ""


def find_judged(
    *, sha256s: Iterable[str], model_version: str, user: AbstractUser | None
) -> dict[str, Judged]:
    """Scores by sha256 that this version of the model gave before, among what ``user`` may see."""
    unknown = set(sha256s)
    found: dict[str, Judged] = {}
    while unknown:
        earlier = _visible(_of_bytes(unknown).filter(model_version=model_version), user)
        records = list(earlier.order_by().values("sha256", "id", "fake_score")[:MAX_AT_ONCE])
        for each in sorted(records, key=itemgetter("id")):
            found.setdefault(each["sha256"], Judged(each["fake_score"], each["id"]))
        # Of an image that was sent a thousand times, a few records are enough; then for the others.
        unknown = unknown - found.keys() if len(records) == MAX_AT_ONCE else set()
    return found


def _of_bytes(sha256s: set[str]) -> QuerySet[Prediction]:
    """The first condition of a question, and equality where it can be: not every server looks for
    the index that answers it best.
    """
    if len(sha256s) == 1:
        return Prediction.objects.filter(sha256=min(sha256s))
    return Prediction.objects.filter(sha256__in=sha256s)


def same_bytes(prediction: Prediction) -> list[Prediction]:
    """Other predictions on the same bytes, the newest of them first."""
    newest = Prediction.objects.filter(sha256=prediction.sha256).order_by("-created_at", "-pk")
    # Itself is left out here: so the question is one for the index.
    others = [each for each in newest[: MAX_SAME + 1] if each.pk != prediction.pk]
    return others[:MAX_SAME]
