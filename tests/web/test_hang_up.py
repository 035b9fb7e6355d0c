from __future__ import annotations

import socket
import struct

import pytest

from detection.web.hang_up import has_hung_up

pytestmark = pytest.mark.stateless


@pytest.fixture
def connection():
    """A client, and the service's end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with client, ours:
        yield client, ours


def test_a_waiting_client_has_not_hung_up(connection):
    _, ours = connection

    assert not has_hung_up(ours)


def test_a_client_that_sent_its_next_request_has_not_hung_up(connection):
    client, ours = connection
    client.sendall(b"GET /")

    assert not has_hung_up(ours)
    assert ours.recv(100) == b"GET /"


def test_a_closed_connection_has_hung_up(connection):
    client, ours = connection
    client.close()

    assert has_hung_up(ours)


def test_a_broken_connection_has_hung_up(connection):
    client, ours = connection
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    assert has_hung_up(ours)


def test_a_connection_that_the_service_closed_has_hung_up(connection):
    _, ours = connection
    ours.close()

    assert has_hung_up(ours)
