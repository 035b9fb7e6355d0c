from __future__ import annotations

import errno
import socket

import pytest

from d3site import deadline_socket
from d3site.deadline_socket import DeadlineSocket

pytestmark = pytest.mark.stateless


@pytest.fixture
def connection(monkeypatch):
    """A client, and the service's end of its connection."""
    monkeypatch.setattr(deadline_socket, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(deadline_socket, "SENDING_SECONDS", 0.2)
    client, server = socket.socketpair()
    with client, DeadlineSocket(server) as ours:
        yield client, ours


def test_what_arrives_in_time_is_received(connection):
    client, ours = connection
    client.sendall(b"GET / HTTP/1.1")

    assert ours.recv(100) == b"GET / HTTP/1.1"
    assert ours.gettimeout() is None


def test_a_client_that_sends_nothing_counts_as_hung_up(connection):
    _, ours = connection

    with pytest.raises(TimeoutError) as caught:
        ours.recv(100)
    assert caught.value.errno == errno.ECONNRESET


def test_a_byte_now_and_then_buys_next_to_no_time(connection):
    client, ours = connection
    begun = ours._deadline
    for _ in range(100):
        client.sendall(b"x")
        assert ours.recv(1) == b"x"

    assert ours._deadline - begun < 0.01


def test_a_large_body_may_take_longer(connection):
    client, ours = connection
    begun = ours._deadline
    client.sendall(b"x" * 2**15)

    assert len(ours.recv(2**15)) == 2**15
    assert ours._deadline == begun + 2


def test_each_request_of_a_connection_has_time_of_its_own(connection):
    client, ours = connection
    with pytest.raises(TimeoutError):
        ours.recv(100)

    ours.begin_request()
    client.sendall(b"x")

    assert ours.recv(100) == b"x"


def test_a_shorter_time_limit_of_the_server_counts(connection, monkeypatch):
    _, ours = connection
    monkeypatch.setattr(deadline_socket, "BODY_SECONDS", 3600)
    ours.begin_request()
    ours.settimeout(0.01)

    with pytest.raises(TimeoutError):
        ours.recv(100)
    assert ours.gettimeout() == 0.01


def test_a_client_that_takes_no_answer_counts_as_hung_up(connection):
    _, ours = connection

    with pytest.raises(BrokenPipeError):
        ours.sendall(b"x" * 2**24)


def test_each_part_of_a_large_answer_has_time_of_its_own(connection, monkeypatch):
    parts = []
    monkeypatch.setattr(
        socket.socket, "sendall", lambda self, data, flags: parts.append(bytes(data)), raising=False
    )
    _, ours = connection
    answer = bytes(range(256)) * 1000

    ours.sendall(answer)

    assert b"".join(parts) == answer
    assert max(map(len, parts)) == deadline_socket.PART
