"""A client's connection, with deadlines for each part of a request and its answer."""

from __future__ import annotations

import errno
import re
import select
import socket
import time
from collections.abc import Callable

BODY_SECONDS = 15.0  # for a body, whatever its size
MIN_RATE = 16 * 2**10  # bytes per second, on average, of a body that takes longer
SENDING_SECONDS = 60.0  # for a part of the answer
PART = 64 * 2**10  # bytes received or sent at a time
MAX_HEAD_BYTES = 64 * 2**10
HEAD_END = re.compile(rb"\n\r?\n")
FORWARDED_FOR = re.compile(rb"^x-forwarded-for:(.*)", re.IGNORECASE | re.MULTILINE)


class HeadTooLargeError(Exception):
    """The head of a request has more than MAX_HEAD_BYTES."""


class DeadlineSocket(socket.socket):
    """A connection that counts as closed when its client is too slow.

    Each byte received extends the deadline a little, so that large bodies may take longer.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self.on_wait: Callable[[], object] | None = None  # called before a wait for the client
        self._early = bytearray()  # received with the head
        self.begin_request()

    def begin_request(self) -> None:
        self._deadline = time.monotonic() + BODY_SECONDS + len(self._early) / MIN_RATE

    def unread(self, data: bytes) -> None:
        """Let ``data`` be received next."""
        self._early[:0] = data

    def receive_head(self) -> bool:
        """Receive what has arrived, without waiting. Return whether the head of the next request is
        complete. Raises HeadTooLargeError, and OSError when the client hung up.
        """
        if HEAD_END.search(self._early):
            return True
        try:
            data = super().recv(PART)
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "The client hung up.")
        start = max(len(self._early) - 2, 0)
        self._early += data
        if HEAD_END.search(self._early, start):
            return True
        if len(self._early) > MAX_HEAD_BYTES:
            raise HeadTooLargeError
        return False

    def is_read_only(self) -> bool:
        """Return whether a complete head is that of a GET or HEAD request."""
        return self._early.startswith((b"GET ", b"HEAD "))

    def forwarded_for(self) -> list[str]:
        """Return the addresses that X-Forwarded-For names in a complete head."""
        head = bytes(self._early[: HEAD_END.search(self._early).start()])
        values = b",".join(FORWARDED_FOR.findall(head)).decode("latin-1")
        return [address.strip() for address in values.split(",")] if values else []

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._early:
            data = bytes(self._early[:size])
            del self._early[:size]
            return data
        if self.on_wait and not self._has_arrived():
            self.on_wait()
        own_timeout = self.gettimeout()  # gunicorn's, while it reads the rest of a body
        left = max(self._deadline - time.monotonic(), 0.001)
        self.settimeout(left if own_timeout is None else min(left, own_timeout))
        try:
            data = super().recv(size, flags)
        except TimeoutError:
            # Without an error, the body would seem to end here, and the request to be complete.
            raise TimeoutError(errno.ECONNRESET, "The client is too slow.") from None
        finally:
            self.settimeout(own_timeout)
        self._deadline += len(data) / MIN_RATE
        return data

    def _has_arrived(self) -> bool:
        watch = select.poll()
        watch.register(self, select.POLLIN)
        return bool(watch.poll(0))

    def discard(self) -> bool:
        """Discard what has arrived, without waiting. Return whether the client may send more.
        Raises OSError when the connection is lost.
        """
        try:
            return bool(super().recv(PART))
        except BlockingIOError:
            return True

    def sendall(self, data: bytes, flags: int = 0) -> None:
        self.settimeout(SENDING_SECONDS)  # which also holds for ``sendfile`` afterwards
        whole = memoryview(data)
        try:
            for start in range(0, len(whole), PART):
                super().sendall(whole[start : start + PART], flags)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "The client reads no answer.") from error
