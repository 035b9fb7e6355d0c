"""Send one request and read its answer.

The addresses of the host name are checked for each request, and the connection goes to the address
that was checked: after a second look-up, the name might have another one.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Timer
from urllib.parse import SplitResult

from detection.outbound.addresses import UnreachableError, find_addresses, parse_url, port_of
from detection.outbound.resolving import RESOLVE_SECONDS

logger = logging.getLogger(__name__)

MAX_ADDRESSES = 3  # of one name that are tried
STEP_SECONDS = 5.0  # for a connection, and for each read of an answer


class NoAnswerError(Exception):
    """The host gave no complete answer of HTTP in time."""


class CertificateError(NoAnswerError):
    """The host has no valid certificate. ``str(error)`` says why."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Check a URL as ``exchange`` does, and send nothing. Raises UrlError."""
    parts = parse_url(url, allow_private=allow_private)
    until = time.monotonic() + RESOLVE_SECONDS
    find_addresses(parts, until=until, allow_private=allow_private)


@contextmanager
def exchange(
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    until: float,
    allow_private: bool,
    body: bytes | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request, and yield the answer, whose body the block may read. Redirects are not
    followed. At ``until``, a moment of ``time.monotonic()``, the exchange ends, even if bytes still
    arrive.

    Raises UrlError, and NoAnswerError, also for what the block reads.
    """
    parts = parse_url(url, allow_private=allow_private)
    addresses = find_addresses(parts, until=until, allow_private=allow_private)
    try:
        with (
            closing(_connected(addresses, port_of(parts), until)) as plain,
            _deadline(plain, until) as is_over,
            closing(_client(parts, plain)) as client,
        ):
            client.request(method, _target(parts), body, headers)
            yield client.getresponse()
            if is_over.is_set():  # the deadline may have cut off the body
                raise TimeoutError(f"{method} took too long.")
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(error.verify_message[:100]) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.info("%s to %s: %r", method, parts.hostname, error)
        raise NoAnswerError from error


def _connected(addresses: list[str], port: int, until: float) -> socket.socket:
    """Connect to the first address that accepts. Raises UnreachableError."""
    for address in addresses[:MAX_ADDRESSES]:
        left = until - time.monotonic()
        if left <= 0:
            break
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=min(STEP_SECONDS, left))
    logger.info("No connection to port %s of %s", port, addresses)
    raise UnreachableError


@contextmanager
def _deadline(connection: socket.socket, until: float) -> Iterator[Event]:
    """Shut the connection down at ``until``, and set the event. A time-out of the socket would not
    suffice, since it begins again with each byte.

    The connection gets a second handle, since TLS takes over the first one.
    """
    is_over = Event()
    with closing(connection.dup()) as handle:
        timer = Timer(until - time.monotonic(), _shut_down, [handle, is_over])
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()


def _shut_down(connection: socket.socket, is_over: Event) -> None:
    is_over.set()
    with suppress(OSError):  # the connection is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _client(parts: SplitResult, plain: socket.socket) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        client = http.client.HTTPConnection(parts.hostname, port_of(parts))
        client.sock = plain
        return client
    context = ssl.create_default_context()
    client = http.client.HTTPSConnection(parts.hostname, port_of(parts), context=context)
    client.sock = context.wrap_socket(plain, server_hostname=parts.hostname)
    return client


def _target(parts: SplitResult) -> str:
    return f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
