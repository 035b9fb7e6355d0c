"""The review queue: its order, its length, and the next prediction for a moderator."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet

from detection.errors import database_errors
from detection.models import Prediction
from detection.review.decisions import try_claim

AT_ONCE = 50  # candidates that are read together


def unreviewed_predictions() -> QuerySet[Prediction]:
    """Return the review queue, without images that cannot be judged. Predictions whose label
    contradicts what the file says precede the others; of both, the least certain are first.
    """
    waiting = Prediction.objects.filter(review_status=Prediction.Review.UNREVIEWED, reason="")
    return waiting.order_by("-disputed", "margin", "pk")


def count_waiting(*, most: int) -> int:
    """Return the length of the review queue, counted up to ``most``. Raises UnavailableError."""
    with database_errors():
        return len(unreviewed_predictions().order_by().values_list("pk")[:most])


def claim_next(*, reviewer: AbstractUser, skipped: Collection[str] = ()) -> Prediction | None:
    """Claim the first prediction of the queue that is free for ``reviewer``; return it, or None
    when there is none. ``skipped`` are ids that this moderator has passed over.

    Raises UnavailableError.
    """
    with database_errors():
        for prediction in _candidates(skipped):
            if try_claim(prediction, reviewer):
                return prediction
    return None


def _candidates(skipped: Collection[str]) -> Iterator[Prediction]:
    candidates = list(unreviewed_predictions()[:AT_ONCE])
    while candidates:
        # Not left out by the database, which would compare each record with a long list.
        yield from (each for each in candidates if each.pk not in skipped)
        candidates = _after(candidates[-1])


def _after(last: Prediction) -> list[Prediction]:
    """Return the candidates after ``last`` in the queue. An offset would not do, since each
    decision of other moderators shifts the queue.
    """
    queue = unreviewed_predictions()
    # Not ``disputed=False``: for "NOT disputed", SQLite would read the queue from its start.
    rest = queue.filter(disputed__in=[last.disputed], margin__gte=last.margin)
    candidates = list(rest.exclude(margin=last.margin, pk__lte=last.pk)[:AT_ONCE])
    if last.disputed and not candidates:
        candidates = list(queue.filter(disputed__in=[False])[:AT_ONCE])
    return candidates
