"""Whether the client of a request still waits for its answer; known under gunicorn only."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.http import HttpRequest

from detection.judging import is_caller_gone

# Linux tells that the client sends no more; elsewhere only a broken connection is noticed.
HUNG_UP = getattr(select, "POLLRDHUP", 0)


@contextmanager
def watch_connection(request: HttpRequest) -> Iterator[None]:
    """Within it, scores that the client of ``request`` does not wait for any more are not made."""
    connection = request.META.get("gunicorn.socket")
    if connection is None:
        yield
        return
    token = is_caller_gone.set(partial(has_hung_up, connection))
    try:
        yield
    finally:
        is_caller_gone.reset(token)


def has_hung_up(connection: socket.socket) -> bool:
    """Nothing is read: what a client has sent ahead is left for its next request."""
    watch = select.poll()
    try:
        watch.register(connection, HUNG_UP)
        return bool(watch.poll(0))
    except (OSError, ValueError):  # closed on our side, so the request is over
        return True
