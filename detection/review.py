"""Review: a moderator looks at a prediction, decides, and may take the decision back.

Neither database of ours need have transactions or row locks. What makes sure that nobody works for
nothing is a condition in the update itself: it changes a record that still is as it was seen, or
none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet

from detection.models import Prediction, now
from detection.unavailable import database_errors

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

CLAIM = timedelta(minutes=10)  # that a prediction is kept for the moderator who looks at it
MARGINS = (0.01, 0.1, 1.0)  # tried in turn: a bound on the margin lets an index do the sorting
AT_ONCE = 20  # candidates that are read together

Review = Prediction.Review


class ReviewError(Exception):
    """A review that cannot be done; the message is one plain sentence."""


class StaleDecisionError(ReviewError):
    """The record is no longer as the moderator saw it."""


class ClaimedError(ReviewError):
    """Another moderator is looking at the record."""


def unreviewed_predictions() -> QuerySet[Prediction]:
    """What waits for a review, the least certain first."""
    return Prediction.objects.filter(review_status=Review.UNREVIEWED).order_by("margin", "pk")


def claim_next(*, reviewer: AbstractUser, skipped: Collection[str] = ()) -> Prediction | None:
    """The least certain prediction that nobody else has, now kept for ``reviewer``; None when
    there is none. ``skipped`` are ids that this moderator has passed over.

    Raises UnavailableError.
    """
    with database_errors():
        for prediction in _candidates(skipped):
            if _claim(prediction, reviewer):
                return prediction
    return None


def claim(*, prediction: Prediction, reviewer: AbstractUser) -> None:
    """Keeps an unreviewed prediction for ``reviewer`` for a while. Raises ClaimedError and
    UnavailableError.
    """
    with database_errors():
        if prediction.review_status == Review.UNREVIEWED and not _claim(prediction, reviewer):
            raise ClaimedError(f"{_claimant(prediction)} is looking at this prediction right now.")


def decide(
    *,
    prediction: Prediction,
    status: str,
    reviewer: AbstractUser,
    revision: int,
    note: str = "",
) -> None:
    """Confirms or overturns the model's label, or takes a decision back (``unreviewed``).

    ``revision`` is the record's ``review_revision`` when the moderator saw it. The prediction is
    changed in the database and in memory.

    Raises StaleDecisionError when somebody has decided since, or has it on the screen now, and
    UnavailableError. Then nothing is changed.
    """
    undone = status == Review.UNREVIEWED
    changes = {
        "review_status": status,
        "reviewer": None if undone else reviewer,
        "reviewed_at": None if undone else now(),
        "review_note": note,
        "review_revision": revision + 1,
        "claimed_by": None,
        "claimed_until": None,
    }
    with database_errors():
        seen = Prediction.objects.filter(_free_for(reviewer), pk=prediction.pk)
        if not seen.filter(review_revision=revision).update(**changes):
            raise StaleDecisionError(_what_happened(prediction))
    for name, value in changes.items():
        setattr(prediction, name, value)


def pass_over(*, prediction: Prediction, reviewer: AbstractUser, note: str = "") -> None:
    """Leaves a prediction to others, with a note for them. Raises UnavailableError."""
    with database_errors():
        claimed = Prediction.objects.filter(pk=prediction.pk, claimed_by=reviewer)
        claimed.update(claimed_by=None, claimed_until=None)
        waiting = Prediction.objects.filter(pk=prediction.pk, review_status=Review.UNREVIEWED)
        if note:
            waiting.update(review_note=note)


def _candidates(skipped: Collection[str]) -> Iterator[Prediction]:
    above = -1.0
    for margin in MARGINS:
        waiting = unreviewed_predictions().filter(margin__gt=above, margin__lte=margin)
        if skipped:
            waiting = waiting.exclude(pk__in=skipped)
        start = 0
        while candidates := list(waiting[start : start + AT_ONCE]):
            yield from candidates
            start += AT_ONCE
        above = margin


def _claim(prediction: Prediction, reviewer: AbstractUser) -> bool:
    until = now() + CLAIM
    free = Prediction.objects.filter(
        _free_for(reviewer), pk=prediction.pk, review_status=Review.UNREVIEWED
    )
    if not free.update(claimed_by=reviewer, claimed_until=until):
        return False
    prediction.claimed_by, prediction.claimed_until = reviewer, until
    return True


def _free_for(reviewer: AbstractUser) -> Q:
    return Q(claimed_until=None) | Q(claimed_until__lt=now()) | Q(claimed_by=reviewer)


def _claimant(prediction: Prediction) -> str:
    record = Prediction.objects.filter(pk=prediction.pk).select_related("claimed_by").first()
    return str(record.claimed_by) if record and record.claimed_by else "Somebody else"


def _what_happened(prediction: Prediction) -> str:
    record = Prediction.objects.filter(pk=prediction.pk).first()
    if record is None:
        return "This prediction has been deleted meanwhile."
    if record.review_status != Review.UNREVIEWED:
        who = record.reviewer or "somebody else"
        return f"This prediction has been {record.review_status} by {who} meanwhile."
    if record.claimed_by and record.claimed_until > now():
        return f"{record.claimed_by} is looking at this prediction right now."
    return "This prediction has changed since you opened it; look at it once more."
