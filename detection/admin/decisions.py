"""Decisions about predictions, each with its line in the admin's log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import DatabaseError

from detection.errors import DatabaseUnavailableError, database_errors
from detection.models import Prediction
from detection.review import Decided, decisions

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

TAKEN_BACK = "Took the decision back."

logger = logging.getLogger(__name__)


def decide_and_log(
    *,
    prediction: Prediction,
    status: str,
    reviewer: AbstractUser,
    revision: int,
    note: str = "",
) -> None:
    """What ``review.decide`` does, with its errors, and a line that says who did it.

    The decision stands also where the line cannot be written; then the process's own log has it.
    """
    decisions.decide(
        prediction=prediction, status=status, reviewer=reviewer, revision=revision, note=note
    )
    _log_what_stands(reviewer, prediction, _sentence(prediction))


def undo_and_log(
    *, prediction: Prediction, reviewer: AbstractUser, revision: int, before: Decided
) -> None:
    """What ``review.undo`` does, with a line as of ``decide_and_log``."""
    decisions.undo(prediction=prediction, reviewer=reviewer, revision=revision, before=before)
    _log_what_stands(reviewer, prediction, TAKEN_BACK)


def log_decision(*, user: AbstractUser, prediction: Prediction, sentence: str) -> None:
    """Raises UnavailableError."""
    _log(user, prediction, CHANGE, sentence)


def log_deletion(*, user: AbstractUser, prediction: Prediction) -> None:
    """Raises UnavailableError."""
    _log(user, prediction, DELETION, "Deleted with its files.")


def _log_what_stands(user: AbstractUser, prediction: Prediction, sentence: str) -> None:
    try:
        log_decision(user=user, prediction=prediction, sentence=sentence)
    except (DatabaseUnavailableError, DatabaseError):
        logger.exception(
            "The admin's log lacks what %s decided on %s: %s", user, prediction.pk, sentence
        )


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
        status.UNREVIEWED: TAKEN_BACK,
    }
    return f"{sentences[status]} {prediction.review_note}".strip()
