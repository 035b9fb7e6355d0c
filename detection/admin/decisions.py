"""Decisions about predictions, each with its line in the admin's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.admin.models import CHANGE, DELETION, LogEntry

from detection import review
from detection.models import Prediction
from detection.unavailable import database_errors

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


def decide_and_log(
    *,
    prediction: Prediction,
    status: str,
    reviewer: AbstractUser,
    revision: int,
    note: str = "",
) -> None:
    """What ``review.decide`` does, with its errors, and a line that says who did it."""
    review.decide(
        prediction=prediction, status=status, reviewer=reviewer, revision=revision, note=note
    )
    log_decision(user=reviewer, prediction=prediction, sentence=_sentence(prediction))


def log_decision(*, user: AbstractUser, prediction: Prediction, sentence: str) -> None:
    """Raises UnavailableError."""
    _log(user, prediction, CHANGE, sentence)


def log_deletion(*, user: AbstractUser, prediction: Prediction) -> None:
    """Raises UnavailableError."""
    _log(user, prediction, DELETION, "Deleted with its files.")


def _log(user: AbstractUser, prediction: Prediction, flag: int, sentence: str) -> None:
    with database_errors():
        LogEntry.objects.log_actions(
            user_id=user.pk,
            queryset=[prediction],
            action_flag=flag,
            change_message=sentence,
            single_object=True,
        )


def _sentence(prediction: Prediction) -> str:
    """``Overturned: REAL instead of FAKE.`` and the reviewer's note."""
    status = prediction.Review(prediction.review_status)
    sentences = {
        status.CONFIRMED: f"Confirmed: {prediction.label}.",
        status.OVERTURNED: f"Overturned: {prediction.label_in_force} instead of"
        f" {prediction.label}.",
        status.UNREVIEWED: "Took the decision back.",
    }
    return f"{sentences[status]} {prediction.review_note}".strip()
