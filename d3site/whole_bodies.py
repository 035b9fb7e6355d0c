"""Raise an error for a body that ends early. Otherwise its form would lack the last files and
fields, and look complete.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

Application = Callable[[dict[str, Any], Callable], Iterable[bytes]]


class WholeBody:
    """A body that raises ConnectionResetError if it ends early. Its reader must not ask for more
    than the Content-Length; Django's reader never does.
    """

    def __init__(self, body: BinaryIO) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        return _checked(self._body.read(size), size)

    def readline(self, size: int) -> bytes:
        line = self._body.readline(size)
        return line if line.endswith(b"\n") else _checked(line, size)


def _checked(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise ConnectionResetError(errno.ECONNRESET, "The body ended early.")
    return data


def whole_bodies(application: Application) -> Application:
    """Wrap an application so that reading an incomplete body raises ConnectionResetError."""

    def wrapped(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        environ["wsgi.input"] = WholeBody(environ["wsgi.input"])
        return application(environ, start_response)

    return wrapped
