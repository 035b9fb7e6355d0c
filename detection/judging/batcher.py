"""Process the items of several callers together.

A network judges a group of images sooner than the same images one by one, and one thread that
infers is faster than many that compete for the same cores. So all callers put their items into one
queue, and one thread, or a few, process the items.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from detection.errors import ServiceError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(RuntimeError):
    """The batcher accepts no more items."""


class CallerGoneError(ServiceError):
    """The caller hung up before the turn of its item, which was not processed."""

    code = "client_hung_up"


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Key, Item, Result]):
    """An item in the queue, and the future of its result."""

    key: Key
    item: Item
    caller: int
    is_gone: Callable[[], bool]
    future: Future[Result] = field(default_factory=Future)


_Queued = tuple[int, int, _Entry]  # the turn of an item, its number, and the item


class Batcher(Generic[Key, Item, Result]):
    """Calls ``process(key, items)``, which returns one result per item, in ``threads`` of its own.

    Items with the same key share a call, ``max_items(key)`` at most. Callers take turns, so that a
    single item does not wait for all items of another caller: start-time fair queueing (Goyal, Vin
    and Cheng, SIGCOMM 1996). An idle thread starts a call at once: the queue fills up while all
    threads work. Only after a call that several callers shared does the thread pause, for
    ``linger`` seconds at most, until as many items are queued.

    ``room`` items may be queued; a caller with more blocks until there is room again.
    """

    def __init__(
        self,
        process: Callable[[Key, list[Item]], Sequence[Result]],
        *,
        max_items: Callable[[Key], int],
        room: int,
        threads: int = 1,
        linger: float = 0.0,
    ) -> None:
        if room < 1:
            raise ValueError(f"There must be room for at least one item, not for {room}.")
        if threads < 1:
            raise ValueError(f"At least one thread must do the work, not {threads}.")
        if linger < 0:
            raise ValueError(f"Items cannot wait for {linger} seconds.")
        self._process = process
        self._max_items = max_items
        self._room = room
        self._linger = linger
        self._waiting: list[_Queued] = []  # a heap
        self._round = 0  # the turn of the last item that a call took
        self._before = -1  # the round in which the last call began
        self._numbers = count()
        self._changed = threading.Condition()
        self._callers = count()
        self._shared = 0  # items of the last call, if several callers shared it
        self._working = 0  # threads
        self._max_working = threads
        self._is_stopped = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batcher")

    @property
    def waiting(self) -> int:
        """Return the number of items that no call has taken yet."""
        return len(self._waiting)

    def submit(
        self, key: Key, items: Iterable[Item], *, is_gone: Callable[[], bool] = lambda: False
    ) -> list[Future[Result]]:
        """Queue items; return one future per item, in order. A cancelled item is not processed.

        ``is_gone`` returns whether the caller has hung up. It is called at the turn of an item, in
        any thread, must be quick and must not raise; if it returns True, the future raises
        CallerGoneError.

        Raises StoppedError after ``stop``.
        """
        caller = next(self._callers)
        entries = [_Entry(key, item, caller, is_gone) for item in items]
        try:
            with self._changed:
                first = self._round
                for turn, entry in enumerate(entries, first):
                    self._wait_for_room()
                    heappush(self._waiting, (turn, next(self._numbers), entry))
                if entries:
                    self._start()
        except BaseException:  # stopped or interrupted: the caller gets none of the futures
            for entry in entries:
                entry.future.cancel()
            raise
        return [entry.future for entry in entries]

    def stop(self) -> None:
        """Accept no more items, and return when all accepted items are processed."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._threads.shutdown()

    def _wait_for_room(self) -> None:
        if len(self._waiting) >= self._room:
            self._start()
            self._changed.wait_for(lambda: self._is_stopped or len(self._waiting) < self._room)
        if self._is_stopped:
            raise StoppedError("No more items are accepted: the process ends.")

    def _start(self) -> None:
        if self._working < self._max_working:
            self._threads.submit(self._work)  # raises when the interpreter ends
            self._working += 1
        self._changed.notify_all()

    def _work(self) -> None:
        while group := self._next_group():
            self._finish(group)

    def _next_group(self) -> list[_Entry[Key, Item, Result]]:
        with self._changed:
            if self._linger and self._shared:
                self._changed.wait_for(self._is_shared_again, self._linger)
            if group := self._take():
                callers = {entry.caller for entry in group}
                self._shared = len(group) if len(callers) > 1 else 0
            else:
                self._working -= 1
            self._changed.notify_all()
        return group

    def _is_shared_again(self) -> bool:
        return self._is_stopped or len(self._waiting) >= self._shared

    def _take(self) -> list[_Entry[Key, Item, Result]]:
        """Take the items that share the next call: those with the key of the first item."""
        group: list[_Entry[Key, Item, Result]] = []
        others: list[_Queued] = []
        start = self._round
        while self._waiting and not (group and len(group) >= self._max_items(group[0].key)):
            turn, _, entry = queued = heappop(self._waiting)
            if group and entry.key != group[0].key:
                others.append(queued)
                continue
            self._round = max(self._round, turn)
            if not entry.future.set_running_or_notify_cancel():
                continue
            if entry.is_gone():
                entry.future.set_exception(CallerGoneError("The client hung up."))
            else:
                group.append(entry)
        for queued in others:
            heappush(self._waiting, queued)
        # After two calls in one round, new callers join the next one: otherwise they would always
        # precede the further items of earlier callers.
        if self._round == start == self._before:
            self._round += 1
        self._before = start
        return group

    def _finish(self, group: list[_Entry[Key, Item, Result]]) -> None:
        """Process a group. If that fails, process the items one by one: good ones get results."""
        try:
            results = self._process(group[0].key, [entry.item for entry in group])
            pairs = list(zip(group, results, strict=True))
        except BaseException as error:
            if len(group) == 1:
                group[0].future.set_exception(error)
                return
            for entry in group:
                self._finish([entry])
            return
        for entry, result in pairs:
            entry.future.set_result(result)


def results_of(futures: Iterable[Future[Result]]) -> list[Result]:
    """Return the results, in order. Raises what the first failed future raises."""
    futures = list(futures)
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:  # after an error or an interrupt the rest is not needed
            future.cancel()
