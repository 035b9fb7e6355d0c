"""A worker of gunicorn whose threads slow clients cannot occupy: a request gets a thread when its
head is complete, and its body and its answer have deadlines.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache, partial
from http import HTTPStatus
from selectors import EVENT_READ

from gunicorn.http import errors
from gunicorn.http.message import Request
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from d3site.deadline_socket import PART, DeadlineSocket, HeadTooLargeError
from d3site.request_turns import Turns

HEAD_SECONDS = 10.0  # for the head of a request, and between two requests of a connection
REST_SECONDS = 0.1  # for the rest of a body that was not read, before the next request
CLOSING_SECONDS = 2.0  # for the client to read the last answer and to close its side
RELEASE_SECONDS = 30.0  # at least, between two calls of release_freed_memory
MAX_ACCEPTED = 64  # new connections, before the present ones are served
NOTHING_TO_ACCEPT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)
IPV6_NETWORK_BITS = 64  # a client with IPv6 has a network of its own, not an address
# Statuses of requests that never reach Django; the first class that fits decides.
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


class DeadlineWorker(ThreadWorker):
    """A worker whose main thread reads the heads of requests and closes connections. Gunicorn's own
    worker leaves this to its few threads, or waits for it. Gunicorn's own code still
    handles connections with TLS.
    """

    max_per_address: int | None = None  # connections; only where clients connect without a proxy
    trusted_proxies = 0  # number of proxies that name the client in X-Forwarded-For

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        # Connections that await a head, or their client's closing, with the time since when; the
        # oldest one is the first.
        self._heads: dict[TConn, float] = {}
        self._closing: dict[TConn, float] = {}
        self._addresses: Counter[str] = Counter()  # open connections
        self._turns: Turns[TConn] = Turns()
        self._running = 0  # requests in threads
        self._released = time.monotonic()

    def accept(self, listener: socket.socket) -> None:
        """Accept new connections, and close those above the limit of their address."""
        for _ in range(MAX_ACCEPTED):
            if self.nr_conns >= self.worker_connections:
                return
            try:
                client, address = listener.accept()
            except OSError as error:
                if error.errno not in NOTHING_TO_ACCEPT:
                    raise
                return
            if self._is_over_limit(address):
                _refuse(client)
                continue
            self.nr_conns += 1
            client.settimeout(None)
            self.enqueue_req(TConn(self.cfg, client, address, listener.getsockname()))

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what gunicorn does, then start the requests whose turn it is."""
        pause = self._turns.pause() if self._turns else timeout
        super().wait_for_and_dispatch_events(min(timeout, pause))
        while conn := self._turns.take():
            conn.sock.begin_request()
            conn.sock.on_wait = partial(self.method_queue.defer, self._turns.end, conn)
            self._running += 1
            super().enqueue_req(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Read the head of a connection's next request. Later, at the turn of the request, a thread
        handles it.
        """
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        if not isinstance(conn.sock, DeadlineSocket):
            conn.sock = DeadlineSocket(conn.sock)
            conn.data_ready = True  # at the time when a thread gets the connection
            self._addresses[network_of(conn.client)] += 1
            conn.sock.settimeout(0)
        if conn.parser:
            conn.sock.unread(conn.parser.unreader.take_buffered())
        self._await(conn, self._heads, self._read_head)
        self._read_head(conn)

    def finish_request(self, conn: TConn, future: Future) -> None:
        """Await the next request of a connection, or close it."""
        if self.cfg.is_ssl:
            super().finish_request(conn, future)
            return
        self._turns.end(conn)
        self._running -= 1
        try:
            conn.sock.settimeout(0)  # raises if the thread closed it
            if not future.cancelled() and not future.exception() and future.result():
                self.enqueue_req(conn)
            else:
                self._close_gently(conn)
        except OSError:
            self._drop(conn)

    def murder_pending(self) -> None:
        """Close connections whose time is over. Gunicorn calls this every second at least."""
        super().murder_pending()
        self._expire(self._heads, HEAD_SECONDS if self.alive else STOP_KEEPALIVE_LINGER)
        self._expire(self._closing, CLOSING_SECONDS)
        if not self._running and time.monotonic() > self._released + RELEASE_SECONDS:
            release_freed_memory()
            self._released = time.monotonic()

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
        with suppress(OSError):  # hung up
            client.sendall(_answer(status, body))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:  # noqa: FBT001  gunicorn's
        """Return whether the connection may have another request. Gunicorn would hold the thread
        for five seconds while the client sends a body that was refused.
        """
        if not keepalive:
            return False
        return conn.parser.finish_body(deadline=time.monotonic() + REST_SECONDS)

    def _is_over_limit(self, client: tuple | str) -> bool:
        most = self.max_per_address
        return most is not None and self._addresses[network_of(client)] >= most

    def _caller(self, conn: TConn) -> tuple[str, bool]:
        """Return the caller whose turn a request takes: an address, and whether the request only
        reads, so that pages open while the same address sends images.

        The address is the one that a trusted proxy names, as in REST framework's throttles, or
        that of the connection.
        """
        forwarded = self.trusted_proxies and conn.sock.forwarded_for()
        address = forwarded[-self.trusted_proxies :][0] if forwarded else network_of(conn.client)
        return address, conn.sock.is_read_only()

    def _read_head(self, conn: TConn) -> None:
        try:
            is_complete = conn.sock.receive_head()
        except HeadTooLargeError:
            self._forget(conn)
            self._close_gently(conn, HEAD_TOO_LARGE)
        except OSError:
            self._drop(conn)
        else:
            if is_complete:
                self._forget(conn)
                self._turns.add(self._caller(conn), conn)

    def _close_gently(self, conn: TConn, answer: bytes = b"") -> None:
        """Close a connection after its client has closed it. If it were closed at once, with unread
        bytes, the client would lose an answer that is still being sent.
        """
        try:
            conn.sock.send(answer)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        self._await(conn, self._closing, self._discard)

    def _discard(self, conn: TConn) -> None:
        try:
            is_open = conn.sock.discard()
        except OSError:
            is_open = False
        if not is_open:
            self._drop(conn)

    def _await(
        self, conn: TConn, where: dict[TConn, float], callback: Callable[[TConn], None]
    ) -> None:
        where[conn] = time.monotonic()
        self.poller.register(conn.sock, EVENT_READ, lambda _: callback(conn))

    def _forget(self, conn: TConn) -> None:
        self._heads.pop(conn, None)
        self._closing.pop(conn, None)
        with suppress(KeyError, ValueError):  # closed by its thread
            self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        network = network_of(conn.client)
        self._addresses[network] -= 1
        if not self._addresses[network]:
            del self._addresses[network]
        conn.close()

    def _expire(self, connections: dict[TConn, float], seconds: float) -> None:
        oldest = time.monotonic() - seconds
        while connections:
            conn, since = next(iter(connections.items()))
            if since > oldest:
                return
            self._drop(conn)


def release_freed_memory() -> None:
    """Return to the system the memory that glibc holds, though it is free since the last burst of
    requests. Threads that allocate memory wait meanwhile, for up to a tenth of a second.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def network_of(client: tuple | str) -> str:
    """Return the address of a client, or the network that an IPv6 client has for itself."""
    return _network_of(client[0]) if isinstance(client, tuple) else ""  # a Unix socket


@lru_cache(maxsize=1024)
def _network_of(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))


def _refuse(client: socket.socket) -> None:
    """Answer with TOO_MANY_CONNECTIONS and close the connection. This is quick, since a flood of
    other connections may follow.
    """
    with suppress(OSError):
        client.recv(PART, socket.MSG_DONTWAIT)  # with unread bytes, the client loses the answer
    with suppress(OSError):
        client.send(TOO_MANY_CONNECTIONS, socket.MSG_DONTWAIT)
    client.close()


def _answer(status: HTTPStatus, body: bytes, *headers: str) -> bytes:
    head = [
        f"HTTP/1.1 {status} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _envelope(code: str, sentence: str) -> bytes:
    return json.dumps({"success": False, "error": sentence, "code": code}).encode()


TOO_MANY_CONNECTIONS = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    _envelope("queue_full", "Your address has too many connections; try again later."),
    "Retry-After: 5",
)
HEAD_TOO_LARGE = _answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    _envelope("headers_too_large", "The headers have more than 64 KiB."),
)
