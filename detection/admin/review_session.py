"""A moderator's way through the review queue, stored in the session."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from django.contrib.sessions.backends.base import SessionBase

KEY = "review_queue"
MAX_SKIPPED = 500
MAX_VISITED = 100


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The decision that Undo reverts, and its name on the page. ``alike`` are the ids and revisions
    of look-alikes that were decided with it.
    """

    pk: str
    revision: int
    words: str
    alike: list[tuple[str, int]] = field(default_factory=list)


class ReviewSession:
    def __init__(self, session: SessionBase) -> None:
        stored = session.get(KEY, {})
        self._session = session
        self.visited: list[str] = stored.get("visited", [])
        self.skipped: list[str] = stored.get("skipped", [])
        self.last = LastDecision(**stored["last"]) if stored.get("last") else None

    def visit(self, pk: str) -> None:
        """Remember a record. A record that was visited before keeps its place."""
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
        """Move the record to the end of this moderator's queue."""
        self.skipped = [*(each for each in self.skipped if each != pk), pk][-MAX_SKIPPED:]
        self._save()

    def clear_skipped(self) -> None:
        self.skipped = []
        self._save()

    def decided(self, decision: LastDecision) -> None:
        self.last = decision
        self._save()

    def cannot_undo(self, pk: str) -> None:
        """Forget the last decision if it is about this record."""
        if self.last and self.last.pk == pk:
            self.last = None
            self._save()

    def forget(self, pk: str) -> None:
        """Forget a deleted record."""
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
