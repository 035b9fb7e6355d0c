"""Run a step in other threads, a little ahead of the code that consumes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_ahead(
    executor: Executor,
    step: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    undo: Callable[[Result], None] | None = None,
) -> Iterator[Result]:
    """Yield the results of ``step`` in the order of ``items``, at most ``ahead`` in advance.

    Only the consuming thread advances ``items``. When the consumer stops early, or a step or
    ``items`` raises, ``undo`` is called with every result that was not consumed.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(step, item))
            if len(pending) >= ahead:
                yield _first(pending)
        while pending:
            yield _first(pending)
    finally:
        for future in pending:
            if not future.cancel() and undo and future.exception() is None:
                undo(future.result())


def _first(pending: deque[Future[Result]]) -> Result:
    result = pending[0].result()  # an interrupt meanwhile must not lose the result
    pending.popleft()
    return result


def in_groups(
    items: Iterable[Item], size: int, *, undo: Callable[[Item], None] | None = None
) -> Iterator[list[Item]]:
    """Yield lists of ``size`` items; the last list may be shorter.

    When ``items`` raises, ``undo`` is called with every item that is in no list yet.
    """
    group: list[Item] = []
    try:
        for item in items:
            group.append(item)
            if len(group) == size:
                full, group = group, []
                yield full
    except BaseException:
        for item in group:
            if undo:
                undo(item)
        raise
    if group:
        yield group
