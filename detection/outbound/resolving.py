"""Resolve host names to addresses within a bounded time.

The system's look-up has no time-out, and a stranger's name server may never answer. So each look-up
has a thread of its own, and its caller waits RESOLVE_SECONDS at most. The threads are daemons, so
the end of the process does not wait for them either.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread

RESOLVE_SECONDS = 5.0
MAX_LOOKUPS = 16  # at a time

LookUp = Callable[[str, int], list[str]]

_places = BoundedSemaphore(MAX_LOOKUPS)


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host name. Raises OSError and UnicodeError."""
    return [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def resolve(host: str, port: int, *, until: float, look_up: LookUp = look_up) -> list[str]:
    """Return the addresses of a name. ``until`` is a moment of ``time.monotonic()``.

    Raises what ``look_up`` raises, and TimeoutError.
    """
    until = min(until, time.monotonic() + RESOLVE_SECONDS)
    if not _places.acquire(timeout=_left(until)):
        raise TimeoutError(f"{MAX_LOOKUPS} other names are still being looked up.")
    answer: Future[list[str]] = Future()
    Thread(target=_answer, args=[answer, look_up, host, port], daemon=True).start()
    return answer.result(_left(until))


def _answer(answer: Future[list[str]], look_up: LookUp, host: str, port: int) -> None:
    try:
        answer.set_result(look_up(host, port))
    except Exception as error:
        answer.set_exception(error)
    finally:
        _places.release()


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
