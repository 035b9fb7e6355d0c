"""Detect clients that hang up before their answer. This works only with gunicorn."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from django.http import HttpRequest

from detection.judging import is_caller_gone

# Linux reports a client that closed its side; other systems report broken connections only.
HUNG_UP = getattr(select, "POLLRDHUP", 0)


@contextmanager
def watch_connection(request: HttpRequest) -> Iterator[None]:
    """Cancel the scoring of ``request`` in this block if its client hangs up."""
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
    """Return whether the client closed the connection. Nothing is read, since bytes that arrived
    may be those of the next request.
    """
    watch = select.poll()
    try:
        watch.register(connection, HUNG_UP)
        return bool(watch.poll(0))
    except (OSError, ValueError):  # closed on our side, so the request is over
        return True
