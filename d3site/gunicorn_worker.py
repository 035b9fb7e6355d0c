"""Gunicorn's threads, with deadlines for slow clients, which would otherwise occupy all threads."""

from __future__ import annotations

import errno
import socket
import time

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 15.0  # for a request until its body has begun, whatever its size
MIN_RATE = 16 * 2**10  # bytes per second, on average, beyond that
SENDING_SECONDS = 60.0  # for a part of the answer
PART = 64 * 2**10  # bytes of the answer


class DeadlineSocket(socket.socket):
    """A connection that counts as closed when its client is too slow.

    Each byte received extends the deadline a little, so that large bodies may take longer.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self.begin_request()

    def begin_request(self) -> None:
        self._deadline = time.monotonic() + HEAD_SECONDS

    def recv(self, size: int, flags: int = 0) -> bytes:
        own_timeout = self.gettimeout()  # gunicorn's, while it closes the connection
        left = max(self._deadline - time.monotonic(), 0.001)
        self.settimeout(left if own_timeout is None else min(left, own_timeout))
        try:
            data = super().recv(size, flags)
        except TimeoutError:
            # Not an end of the body, which would make a complete request of an incomplete one.
            raise TimeoutError(errno.ECONNRESET, "The client is too slow.") from None
        finally:
            self.settimeout(own_timeout)
        self._deadline += len(data) / MIN_RATE
        return data

    def sendall(self, data: bytes, flags: int = 0) -> None:
        self.settimeout(SENDING_SECONDS)  # also for a file that is sent next
        whole = memoryview(data)
        try:
            for start in range(0, len(whole), PART):
                super().sendall(whole[start : start + PART], flags)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "The client reads no answer.") from error


class DeadlineWorker(ThreadWorker):
    def handle(self, conn: TConn) -> object:
        """Handle one request of a connection, in a thread."""
        if not conn.initialized:  # later it may be a TLS connection, which must not be replaced
            conn.sock = DeadlineSocket(conn.sock)
        if isinstance(conn.sock, DeadlineSocket):
            conn.sock.begin_request()
        return super().handle(conn)
