"""Review: a moderator claims a prediction, decides, and may undo the decision.

No transaction or row lock is needed. A record has a revision, which each claim and each decision
increases. An update names the revision that the moderator saw, so it changes nothing on a record
that another moderator has changed since.
"""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import AbstractUser
from django.db import transaction

from detection.errors import ServiceError, database_errors
from detection.models import Prediction, now
from detection.records import count_review

CLAIM = timedelta(minutes=10)  # a prediction is reserved for one moderator so long
UNCLAIMED = {"claimed_by": None, "claimed_until": None}

Review = Prediction.Review


class ReviewError(ServiceError):
    """The review cannot be done."""


class StaleDecisionError(ReviewError):
    """The record has changed since the moderator saw it, or another moderator has claimed it."""


def claim(*, prediction: Prediction, reviewer: AbstractUser) -> None:
    """Reserve an unreviewed prediction for ``reviewer``, or extend the reservation, for CLAIM.

    Raises StaleDecisionError when another moderator has claimed or reviewed it, and
    UnavailableError.
    """
    with database_errors():
        if not try_claim(prediction, reviewer):
            raise StaleDecisionError(_what_happened(prediction, reviewer))


def decide(
    *,
    prediction: Prediction,
    status: str,
    reviewer: AbstractUser,
    revision: int,
    note: str = "",
) -> None:
    """Confirm or overturn the model's label, or reopen the record (``unreviewed``).

    ``revision`` is the record's ``review_revision`` when the moderator saw it. The prediction is
    changed in the database and in memory.

    Raises StaleDecisionError when another moderator has decided since or has claimed it, and
    UnavailableError. Then nothing is changed.
    """
    undone, moment = status == Review.UNREVIEWED, now()
    changes = {
        "review_status": status,
        "reviewer": None if undone else reviewer,
        "reviewed_at": None if undone else moment,
        "updated_at": moment,
        "review_note": note,
        "review_revision": revision + 1,
        **UNCLAIMED,
    }
    before = prediction.review_status
    with database_errors(), transaction.atomic():
        if _is_held_elsewhere(prediction, reviewer) or not _change(prediction, revision, changes):
            raise StaleDecisionError(_what_happened(prediction, reviewer))
        count_review(prediction, before=before)


def pass_over(*, prediction: Prediction, reviewer: AbstractUser, note: str) -> None:
    """Release a prediction to others, with a ``note`` for them.

    Raises StaleDecisionError if a new note could not be stored, since another moderator has
    reviewed or claimed the prediction, and UnavailableError.
    """
    is_new = note != prediction.review_note
    is_ours = prediction.claimed_by_id == reviewer.pk and not prediction.is_reviewed
    changes = {**UNCLAIMED, "review_note": note}
    with database_errors():
        is_released = is_ours and _change(prediction, prediction.review_revision, changes)
        if is_new and not is_released:
            raise StaleDecisionError(_what_happened(prediction, reviewer))


def try_claim(prediction: Prediction, reviewer: AbstractUser) -> bool:
    """Claim the prediction; return False if another moderator has claimed or reviewed it."""
    if prediction.is_reviewed or _is_held_elsewhere(prediction, reviewer):
        return False
    is_taken = prediction.claimed_by_id != reviewer.pk
    changes = {
        "claimed_by": reviewer,
        "claimed_until": now() + CLAIM,
        "review_revision": prediction.review_revision + is_taken,
    }
    return _change(prediction, prediction.review_revision, changes)


def _change(prediction: Prediction, revision: int, changes: dict[str, object]) -> bool:
    """Change the record in one command; return False if it no longer has this revision."""
    seen = Prediction.objects.filter(
        pk=prediction.pk, review_revision=revision, review_status=prediction.review_status
    )
    if not seen.update(**changes):
        return False
    for name, value in changes.items():
        setattr(prediction, name, value)
    return True


def _is_held_elsewhere(prediction: Prediction, reviewer: AbstractUser) -> bool:
    """Return whether another moderator has a claim that still holds."""
    until = prediction.claimed_until
    return until is not None and until >= now() and prediction.claimed_by_id != reviewer.pk


def _what_happened(prediction: Prediction, reviewer: AbstractUser) -> str:
    record = Prediction.objects.filter(pk=prediction.pk).first()
    if record is None:
        return "This prediction has been deleted meanwhile."
    if record.is_reviewed:
        who = record.reviewer or "another moderator"
        return f"This prediction has been {record.review_status} by {who} meanwhile."
    if _is_held_elsewhere(record, reviewer):
        who = record.claimed_by or "Another moderator"
        return f"{who} is looking at this prediction right now."
    return "This prediction has changed since you opened it; look at it once more."
