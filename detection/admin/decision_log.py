"""Decisions about predictions, with entries in the admin's log."""

from __future__ import annotations

import logging

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractUser
from django.db import DatabaseError

from detection.errors import DatabaseUnavailableError, database_errors
from detection.models import Prediction
from detection.review import decide

logger = logging.getLogger(__name__)


def decide_and_log(
    *,
    prediction: Prediction,
    status: str,
    reviewer: AbstractUser,
    revision: int,
    note: str = "",
) -> None:
    """Write a decision and its entry in the admin's log. Raises what ``review.decide`` raises.

    If the admin's log cannot be written, the decision stands, and the process logs it.
    """
    decide(prediction=prediction, status=status, reviewer=reviewer, revision=revision, note=note)
    sentence = _sentence(prediction)
    try:
        log_decision(user=reviewer, prediction=prediction, sentence=sentence)
    except (DatabaseUnavailableError, DatabaseError):
        logger.exception(
            "The admin's log lacks the decision of %s on %s: %s",
            reviewer,
            prediction.pk,
            sentence,
        )


def log_decision(
    *, user: AbstractUser, prediction: Prediction, sentence: str, flag: int = CHANGE
) -> None:
    """Write an entry in the admin's log. Raises UnavailableError."""
    with database_errors():
        LogEntry.objects.log_actions(
            user_id=user.pk,
            queryset=[prediction],
            action_flag=flag,
            change_message=sentence,
            single_object=True,
        )


def _sentence(prediction: Prediction) -> str:
    """Return ``Overturned: REAL instead of FAKE.`` and the reviewer's note."""
    status = prediction.Review(prediction.review_status)
    sentences = {
        status.CONFIRMED: f"Confirmed: {prediction.label}.",
        status.OVERTURNED: f"Overturned: {prediction.label_in_force} instead of"
        f" {prediction.label}.",
        status.UNREVIEWED: "Undone: open again.",
    }
    return f"{sentences[status]} {prediction.review_note}".strip()
