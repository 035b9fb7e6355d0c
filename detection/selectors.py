"""What is read from the records: who sees which, what was judged before, how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Avg, Count, QuerySet

from detection.models import Label, Prediction, PredictionBatch

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


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


def _visible(records: QuerySet, user: AbstractUser | None) -> QuerySet:
    if settings.API_ACCESS == "open" or user is None or user.is_staff:
        return records
    return records.filter(owner=user.pk)


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


def count_predictions(*, user: AbstractUser | None) -> dict[str, object]:
    """Usage figures: totals, shares in percent, and the mean confidence (0..1) by label."""
    by_label = {label: _Tally() for label in Label.values}
    groups = (
        visible_predictions(user)
        .filter(label__in=Label.values)  # all of them; but so the index by label is used
        .order_by()
        .values("label", "uncertain")
        .annotate(count=Count("pk"), mean=Avg("fake_score"))
    )
    for group in groups:
        by_label[group["label"]].add(**group)
    fake, real = by_label[Label.FAKE], by_label[Label.REAL]
    total = fake.count + real.count
    return {
        "total_predictions": total,
        "fake_count": fake.count,
        "real_count": real.count,
        "uncertain_count": fake.uncertain + real.uncertain,
        "fake_percentage": _percentage(fake.count, total),
        "real_percentage": _percentage(real.count, total),
        "average_confidence": {
            "fake": fake.mean_score,
            "real": 1 - real.mean_score if real.count else 0.0,
        },
    }


@dataclass(slots=True)
class _Tally:
    count: int = 0
    uncertain: int = 0
    score_sum: float = 0.0

    def add(self, *, count: int, mean: float, uncertain: bool, **group: object) -> None:
        self.count += count
        self.uncertain += count * uncertain
        self.score_sum += count * mean

    @property
    def mean_score(self) -> float:
        return self.score_sum / self.count if self.count else 0.0


def _percentage(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
