"""Clients that send or disconnect slowly, beside a normal one, without a proxy."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse

import pytest
import requests

from tests.support.installation import Service
from tests.support.production import PRODUCTION
from tests.support.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.own_servers, pytest.mark.stateless]

MAX_WAITING_REQUESTS = 4
THREADS = MAX_WAITING_REQUESTS + 16
# So many connections that a service which waits for each of them answers no other in time
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 32)]
EACH = THREADS // 2 - 1
HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
WHOLE_HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST_HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return PRODUCTION | {
        "TRUSTED_PROXIES": "0",
        "SECURE_SSL_REDIRECT": "false",
        "LISTEN_HOST": "0.0.0.0",
        "MAX_WAITING_REQUESTS": str(MAX_WAITING_REQUESTS),
    }


@contextmanager
def connections(service: Service, *addresses: str, each: int) -> Iterator[list[socket.socket]]:
    """Connect this often from each address of this computer."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", service.port), timeout=PATIENCE, source_address=(address, 0)
                )
            )
            for address in addresses
            for _ in range(each)
        ]


def answer(connection: socket.socket) -> HTTPResponse:
    response = HTTPResponse(connection)
    response.begin()
    return response


def is_answering(service: Service) -> bool:
    """Whether a request of an address without other connections is answered."""
    return requests.get(f"{service.url}/health/live", timeout=PATIENCE).ok


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_unfinished_heads_take_no_threads(service):
    with connections(service, *ADDRESSES, each=EACH) as slow:
        for connection in slow:
            connection.sendall(HALF_A_HEAD)

        assert is_answering(service)


def test_an_unfinished_head_is_closed_after_its_time(service):
    with connections(service, ADDRESSES[0], each=1) as [slow]:
        slow.sendall(HALF_A_HEAD)

        assert eventually(lambda: is_closed(slow), seconds=30)


def test_a_head_may_come_in_parts(service):
    with connections(service, ADDRESSES[0], each=1) as [client]:
        for part in (WHOLE_HEAD[:5], WHOLE_HEAD[5:-2], WHOLE_HEAD[-2:]):
            client.sendall(part)
            time.sleep(0.05)

        assert answer(client).status == 200


def test_unfinished_next_requests_take_no_threads(service):
    with connections(service, *ADDRESSES, each=EACH) as slow:
        for connection in slow:
            connection.sendall(WHOLE_HEAD + HALF_A_HEAD)
        assert all(answer(connection).status == 200 for connection in slow)

        assert is_answering(service)


def test_one_address_has_half_of_the_threads(service):
    with connections(service, ADDRESSES[0], each=THREADS // 2) as own:
        for connection in own:
            connection.sendall(HALF_A_HEAD)
        with connections(service, ADDRESSES[0], each=1) as [further]:
            refused = answer(further)

            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert b"queue_full" in refused.read()
        assert is_answering(service)
    assert eventually(lambda: is_welcome(service, ADDRESSES[0]))


def is_welcome(service: Service, address: str) -> bool:
    with connections(service, address, each=1) as [client]:
        client.sendall(LAST_HEAD)
        return answer(client).status == 200


def test_a_head_has_64_kib_at_most(service):
    with connections(service, ADDRESSES[0], each=1) as [client]:
        client.sendall(WHOLE_HEAD[:-2] + b"X-Large: " + b"x" * 2**16)

        assert answer(client).status == 431


def test_a_line_feed_alone_is_no_end_of_a_line(service):
    with connections(service, ADDRESSES[0], each=1) as [client]:
        client.sendall(WHOLE_HEAD.replace(b"\r", b""))

        assert answer(client).status == 400
