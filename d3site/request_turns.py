"""Order the starts of requests, so that many requests of one caller delay no other caller."""

from __future__ import annotations

import time
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

STARTING_SECONDS = 0.02  # longer than most requests compute


class Turns(Generic[Item]):
    """Items that start one after the other, while their callers take turns: start-time fair
    queueing (Goyal, Vin and Cheng, SIGCOMM 1996).

    Python computes in one thread at a time, so requests that start together only slow down each
    other. The next item starts when the last one has ended, or STARTING_SECONDS after it started,
    since by then most requests that have not ended wait for something else. An item whose turn is
    before the present round (``early``) starts at once.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Hashable, Item]] = []  # a heap, by turn and number
        self._numbers = count()
        self._round = 0  # the turn of the last item that was not early
        self._next: dict[Hashable, int] = {}  # turns of next items, unless they would be early
        self._last: Item | None = None  # the item that started last; None when it has ended
        self._deadline = 0.0  # after which the next item starts, though the last one has not ended

    def add(self, caller: Hashable, item: Item) -> None:
        early = self._round - 1
        turn = max(self._next.get(caller, early), early)
        self._next[caller] = turn + 1
        heappush(self._waiting, (turn, next(self._numbers), caller, item))

    def end(self, item: Item) -> None:
        if item is self._last:
            self._last = None

    def take(self) -> Item | None:
        """Return the item that starts now, or None."""
        is_free = self.pause() == 0
        if not self._waiting or not (is_free or self._waiting[0][0] < self._round):
            return None
        turn, _, caller, item = heappop(self._waiting)
        if is_free:
            self._advance(turn, caller)
        self._last, self._deadline = item, time.monotonic() + STARTING_SECONDS
        return item

    def _advance(self, turn: int, caller: Hashable) -> None:
        """Begin the round of an item that starts after the last one has ended. If it is early and
        no other item waits, begin a new round: otherwise the callers of such items would stay in
        ``_next`` for ever.
        """
        if turn < self._round and not self._waiting:
            self._round += 1
            self._next[caller] = self._round
        self._round = max(self._round, turn)
        self._next = {name: turn for name, turn in self._next.items() if turn >= self._round}

    def pause(self) -> float:
        """Return the seconds until the next item starts, unless the last one ends before."""
        if self._last is None:
            return 0.0
        return max(0.0, self._deadline - time.monotonic())

    def __bool__(self) -> bool:
        """Return whether items wait."""
        return bool(self._waiting)
