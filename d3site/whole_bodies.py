"""A body that ends early is an error, not a shorter body: its form would lack the last files and
fields, and look complete.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

Application = Callable[[dict[str, Any], Callable], Iterable[bytes]]


class WholeBody:
    """A body of a known length. Raises ConnectionResetError if the body ends early."""

    def __init__(self, body: BinaryIO, length: int) -> None:
        self._body = body
        self._left = length

    def read(self, size: int = -1) -> bytes:
        wanted = self._wanted(size)
        data = self._counted(self._body.read(wanted))
        if len(data) < wanted:
            self._fail()
        return data

    def readline(self, size: int = -1) -> bytes:
        line = self._counted(self._body.readline(self._wanted(size)))
        if self._left and not line:
            self._fail()
        return line

    def _wanted(self, size: int | None) -> int:
        return self._left if size is None or size < 0 else min(size, self._left)

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data

    def _fail(self) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "The body ended early.")


def whole_bodies(application: Application) -> Application:
    """Wrap an application so that reading an incomplete body raises ConnectionResetError."""

    def wrapped(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH", "")
        if length.isdecimal():
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(length))
        return application(environ, start_response)

    return wrapped
