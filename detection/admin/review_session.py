"""What a moderator's session remembers of their way through the queue."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Self

from django.contrib.sessions.backends.base import SessionBase

from detection.models import Prediction
from detection.review import Decided

KEY = "review"
MAX_SKIPPED = 500
MAX_VISITED = 100


@dataclass(frozen=True, slots=True)
class LastDecision:
    """What Undo takes back, how it is called on the page, and what was decided before it.

    Its values are such as JSON has: a session keeps no others.
    """

    pk: str
    revision: int
    words: str
    status_before: str = Prediction.Review.UNREVIEWED.value
    reviewer_before: str = ""
    reviewed_at_before: str = ""
    note_before: str = ""

    @classmethod
    def on(cls, prediction: Prediction, *, words: str, before: Decided | None) -> Self:
        """The decision that ``prediction`` now has."""
        decision = cls(prediction.pk, prediction.review_revision, words)
        if before is None:
            return decision
        return replace(
            decision,
            status_before=str(before.status),
            reviewer_before=before.reviewer_pk,
            reviewed_at_before=before.reviewed_at.isoformat() if before.reviewed_at else "",
            note_before=before.note,
        )

    @property
    def before(self) -> Decided | None:
        """None: the prediction was open."""
        if self.status_before == Prediction.Review.UNREVIEWED:
            return None
        moment = self.reviewed_at_before
        return Decided(
            status=self.status_before,
            reviewer_pk=self.reviewer_before,
            reviewed_at=datetime.fromisoformat(moment) if moment else None,
            note=self.note_before,
        )


class ReviewSession:
    def __init__(self, session: SessionBase) -> None:
        kept = session.get(KEY, {})
        self._session = session
        self.visited: list[str] = kept.get("visited", [])
        self.skipped: list[str] = kept.get("skipped", [])
        self.last = LastDecision(**kept["last"]) if kept.get("last") else None

    def visit(self, pk: str) -> None:
        """A record that was looked at before keeps its place."""
        if pk not in self.visited:
            self.visited = [*self.visited, pk][-MAX_VISITED:]
            self._save()

    def previous(self, pk: str) -> str | None:
        return self._beside(pk, -1)

    def following(self, pk: str) -> str | None:
        return self._beside(pk, 1)

    def _beside(self, pk: str, step: int) -> str | None:
        place = self.visited.index(pk) + step
        return self.visited[place] if 0 <= place < len(self.visited) else None

    def skip(self, pk: str) -> None:
        """To the end of the queue, for this moderator."""
        self.skipped = [*(each for each in self.skipped if each != pk), pk][-MAX_SKIPPED:]
        self._save()

    def look_at_skipped_again(self) -> None:
        self.skipped = []
        self._save()

    def decided(self, decision: LastDecision) -> None:
        self.last = decision
        self._save()

    def before(self, pk: str, revision: int) -> Decided | None:
        """What was decided before the decision that made this revision, as far as it is known."""
        last = self.last
        return last.before if last and (last.pk, last.revision) == (pk, revision) else None

    def cannot_undo(self, pk: str) -> None:
        """A decision about this record was taken back, or is in force no longer."""
        if self.last and self.last.pk == pk:
            self.last = None
            self._save()

    def forget(self, pk: str) -> None:
        """The record has been deleted."""
        self.visited = [each for each in self.visited if each != pk]
        self.skipped = [each for each in self.skipped if each != pk]
        self.cannot_undo(pk)
        self._save()

    def _save(self) -> None:
        self._session[KEY] = {
            "visited": self.visited,
            "skipped": self.skipped,
            "last": asdict(self.last) if self.last else None,
        }
