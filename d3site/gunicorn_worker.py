"""Gunicorn's threads, with deadlines for slow clients, which would otherwise occupy all threads."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from contextlib import suppress
from http import HTTPStatus

from gunicorn.http import errors
from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 15.0  # for a request until its body has begun, whatever its size
MIN_RATE = 16 * 2**10  # bytes per second, on average, beyond that
SENDING_SECONDS = 60.0  # for a part of the answer
PART = 64 * 2**10  # bytes of the answer
# Statuses of requests that never reach Django; the first class decides.
STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConfigurationProblem: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
    ssl.SSLError: HTTPStatus.BAD_REQUEST,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}


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

    def handle_error(
        self, req: Request | None, client: socket.socket, addr: tuple, exc: Exception
    ) -> None:
        """Answer with the envelope of the service's other errors."""
        from detection.web import error_response  # which needs Django's settings

        status = next(status for kind, status in STATUSES.items() if isinstance(exc, kind))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("A request failed.", exc_info=exc)
        else:
            self.log.warning("Refused a request from %s: %s", addr[0] if addr else "a socket", exc)
        body = error_response(status).content
        head = (
            f"HTTP/1.1 {status} {status.phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        with suppress(OSError):  # hung up
            client.sendall("\r\n".join([*head, "", ""]).encode() + body)
