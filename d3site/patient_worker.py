"""Gunicorn's threads wait for a client, but not forever: slow ones would hold them all."""

from __future__ import annotations

import errno
import socket
import time

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 15.0  # for a request until its body has begun, whatever its size
LEAST_RATE = 16 * 2**10  # bytes per second, on average, beyond that
SENDING_SECONDS = 60.0  # for a part of the answer
PART = 64 * 2**10  # bytes of the answer


class PatientSocket(socket.socket):
    """A connection whose client may take its time within limits; then it counts as hung up.

    Each byte received buys a little more time, so that large bodies may take longer.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self.begin_request()

    def begin_request(self) -> None:
        self._deadline = time.monotonic() + HEAD_SECONDS

    def recv(self, size: int, flags: int = 0) -> bytes:
        impatience = self.gettimeout()  # gunicorn's own, while it closes
        left = max(self._deadline - time.monotonic(), 0.001)
        self.settimeout(left if impatience is None else min(left, impatience))
        try:
            data = super().recv(size, flags)
        except TimeoutError:
            # No end of the body, which would make a whole request of what came of it.
            raise TimeoutError(errno.ECONNRESET, "The client is too slow.") from None
        finally:
            self.settimeout(impatience)
        self._deadline += len(data) / LEAST_RATE
        return data

    def sendall(self, data: bytes, flags: int = 0) -> None:
        self.settimeout(SENDING_SECONDS)  # counts for a file that is sent next, too
        whole = memoryview(data)
        try:
            for start in range(0, len(whole), PART):
                super().sendall(whole[start : start + PART], flags)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "The client takes no answer.") from error


class PatientWorker(ThreadWorker):
    def handle(self, conn: TConn) -> object:
        """One request of a connection, in a thread."""
        if not conn.initialized:  # later it may be one of TLS, which must stay what it is
            conn.sock = PatientSocket(conn.sock)
        if isinstance(conn.sock, PatientSocket):
            conn.sock.begin_request()
        return super().handle(conn)
