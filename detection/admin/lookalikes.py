"""Decisions on the look-alikes of a prediction, together with it on the review screen."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser

from detection.admin.decision_log import decide_and_log
from detection.errors import database_errors
from detection.models import Prediction
from detection.records import lookalikes_of
from detection.review import StaleDecisionError

Review = Prediction.Review


def decide_lookalikes(prediction: Prediction, moderator: AbstractUser) -> list[tuple[str, int]]:
    """Give the unreviewed look-alikes of a reviewed prediction its label. Return the id and the
    revision of each, for ``undo_lookalikes``. Leave out those that another moderator has claimed.

    Raises UnavailableError; decisions until then stand.
    """
    decided = []
    with database_errors():
        found = lookalikes_of(prediction, user=moderator)
    for other in (each.prediction for each in found):
        if other.is_reviewed:
            continue
        agrees = other.label == prediction.label_in_force
        try:
            decide_and_log(
                prediction=other,
                status=Review.CONFIRMED if agrees else Review.OVERTURNED,
                reviewer=moderator,
                revision=other.review_revision,
                note=f"Decided with {prediction.pk}, a similar picture.",
            )
        except StaleDecisionError:
            continue
        decided.append((other.pk, other.review_revision))
    return decided


def undo_lookalikes(decided: list[tuple[str, int]], moderator: AbstractUser) -> int:
    """Reopen predictions that were decided alike; return how many. Leave out those that changed
    since. Raises UnavailableError.
    """
    with database_errors():
        records = Prediction.objects.in_bulk([pk for pk, _ in decided])
    undone = 0
    for pk, revision in decided:
        if pk not in records or records[pk].review_revision != revision:
            continue
        try:
            decide_and_log(
                prediction=records[pk],
                status=Review.UNREVIEWED,
                reviewer=moderator,
                revision=revision,
            )
        except StaleDecisionError:
            continue
        undone += 1
    return undone
