"""What several threads ask for at the same time, done together.

A network judges a group of images sooner than the same images one by one, and one thread that
infers sooner than many that fight for the same cores. So every caller puts its images into one
queue, and one thread, or a few, take from it what is there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from detection.errors import ServiceError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(RuntimeError):
    """The batcher takes no more."""


class CallerGoneError(ServiceError):
    """The caller went away before its items were processed."""

    code = "client_hung_up"


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Key, Item, Result]):
    """An item in the queue, and the promise of its result."""

    key: Key
    item: Item
    caller: int
    is_gone: Callable[[], bool]
    future: Future[Result] = field(default_factory=Future)


class Batcher(Generic[Key, Item, Result]):
    """Calls ``process(key, items)``, which gives one result per item, in ``threads`` of its own.

    Items of all callers that have the same key share a call, ``most(key)`` of them and no more, in
    the order in which they came. Nobody waits for company while a thread is idle: the queue fills
    up by itself while all of them work. Only where the last call was shared by several callers
    does the next one wait, for ``linger`` seconds at most, until as many items are there.

    ``room`` items may wait; who brings more is held until there is room again.
    """

    def __init__(
        self,
        process: Callable[[Key, list[Item]], Sequence[Result]],
        *,
        most: Callable[[Key], int],
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
        self._most = most
        self._room = room
        self._linger = linger
        self._waiting: deque[_Entry[Key, Item, Result]] = deque()
        self._changed = threading.Condition()
        self._callers = count()
        self._shared = 0  # items of the last call, if several callers shared it
        self._working = 0  # threads
        self._most_working = threads
        self._is_stopped = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batcher")

    @property
    def waiting(self) -> int:
        """Items that no call has taken yet."""
        return len(self._waiting)

    def submit(
        self, key: Key, items: Iterable[Item], *, is_gone: Callable[[], bool] = lambda: False
    ) -> list[Future[Result]]:
        """One promise per item, in their order; a cancelled one costs nothing any more.

        Whether the caller ``is_gone`` is asked when an item's turn has come; the promise then
        raises CallerGoneError. It is asked in any thread, must be quick and must not raise.

        Raises StoppedError after ``stop``.
        """
        caller = next(self._callers)
        entries = [_Entry(key, item, caller, is_gone) for item in items]
        try:
            with self._changed:
                for entry in entries:
                    self._wait_for_room()
                    self._waiting.append(entry)
                if entries:
                    self._start()
        except BaseException:  # stopped or interrupted: nobody takes those before
            for entry in entries:
                entry.future.cancel()
            raise
        return [entry.future for entry in entries]

    def run(self, key: Key, items: Iterable[Item]) -> list[Result]:
        """The results, one per item. Raises what ``process`` raised for the first that failed."""
        return results_of(self.submit(key, items))

    def stop(self) -> None:
        """Takes no more, and returns when everything that was accepted is done."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._threads.shutdown()

    def _wait_for_room(self) -> None:
        if len(self._waiting) >= self._room:
            self._start()
            self._changed.wait_for(lambda: self._is_stopped or len(self._waiting) < self._room)
        if self._is_stopped:
            raise StoppedError("Nothing more is taken: the process ends.")

    def _start(self) -> None:
        if self._working < self._most_working:
            self._threads.submit(self._work)  # raises when the interpreter ends
            self._working += 1
        self._changed.notify_all()

    def _work(self) -> None:
        while group := self._next_group():
            self._finish(group)

    def _next_group(self) -> list[_Entry[Key, Item, Result]]:
        with self._changed:
            if self._linger and self._shared:
                self._changed.wait_for(self._has_company, self._linger)
            if group := self._take():
                callers = {entry.caller for entry in group}
                self._shared = len(group) if len(callers) > 1 else 0
            else:
                self._working -= 1
            self._changed.notify_all()
        return group

    def _has_company(self) -> bool:
        return self._is_stopped or len(self._waiting) >= self._shared

    def _take(self) -> list[_Entry[Key, Item, Result]]:
        """The items that share the next call: those with the key of the first one."""
        group: list[_Entry[Key, Item, Result]] = []
        others: deque[_Entry[Key, Item, Result]] = deque()
        while self._waiting and not (group and len(group) >= self._most(group[0].key)):
            entry = self._waiting.popleft()
            if group and entry.key != group[0].key:
                others.append(entry)
            elif not entry.future.set_running_or_notify_cancel():
                continue
            elif entry.is_gone():
                entry.future.set_exception(CallerGoneError("The client hung up."))
            else:
                group.append(entry)
        self._waiting.extendleft(reversed(others))
        return group

    def _finish(self, group: list[_Entry[Key, Item, Result]]) -> None:
        """When the call fails, each item has one of its own: its neighbours get their results."""
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
    """Waits for them. Raises what the first one that failed raises."""
    futures = list(futures)
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:  # after an error or an interrupt nobody takes the rest
            future.cancel()
