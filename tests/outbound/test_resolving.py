"""Names are resolved within a bounded time and by a bounded number of threads."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from detection.outbound import UnreachableError, check_url, resolving
from detection.outbound.resolving import MAX_LOOKUPS, resolve
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.stateless


class SilentServer:
    """A name server that never answers. Its look-ups end with the block."""

    def __init__(self) -> None:
        self.lookups = 0
        self.at_once = 0
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> SilentServer:
        return self

    def __exit__(self, *error) -> None:
        self._is_over.set()
        assert eventually(lambda: self.at_once == 0)

    def look_up(self, host: str, port: int) -> list[str]:
        with self._lock:
            self.lookups += 1
            self.at_once += 1
        self._is_over.wait(PATIENCE)
        with self._lock:
            self.at_once -= 1
        raise socket.gaierror("no answer")


def soon() -> float:
    return time.monotonic() + PATIENCE


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(resolving, "RESOLVE_SECONDS", 0.05)


def test_addresses_are_those_of_the_system():
    assert "127.0.0.1" in resolve("localhost", 443, until=soon())


def test_a_name_server_that_never_answers_is_a_time_out(short):
    with SilentServer() as server:
        with pytest.raises(TimeoutError):
            resolve("hangs.example", 443, until=soon(), look_up=server.look_up)

        assert eventually(lambda: server.at_once == 1)


def test_a_look_up_ends_with_the_time_of_its_caller():
    with SilentServer() as server, pytest.raises(TimeoutError):
        resolve("hangs.example", 443, until=time.monotonic(), look_up=server.look_up)


def test_names_that_hang_take_a_bounded_number_of_threads(short):
    def ask(_: int) -> None:
        with pytest.raises(TimeoutError):
            resolve("hangs.example", 443, until=soon(), look_up=server.look_up)

    with SilentServer() as server, ThreadPoolExecutor(MAX_LOOKUPS) as threads:
        list(threads.map(ask, range(MAX_LOOKUPS * 3)))

        assert eventually(lambda: server.at_once == MAX_LOOKUPS)
        assert server.lookups == MAX_LOOKUPS
    assert eventually(lambda: resolving._places._value == MAX_LOOKUPS)


def test_errors_of_a_look_up_release_its_thread():
    def fails(host: str, port: int) -> list[str]:
        raise UnicodeError("label too long")

    for _ in range(MAX_LOOKUPS + 1):
        with pytest.raises(UnicodeError):
            resolve("fails.example", 443, until=soon(), look_up=fails)


def test_a_hung_look_up_has_the_sentence_of_a_missing_name(short, monkeypatch):
    with SilentServer() as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: server.look_up(host, 0))
        with pytest.raises(UnreachableError) as hanging:
            check_url("https://hangs.example/", allow_private=False)
    monkeypatch.undo()
    with pytest.raises(UnreachableError) as missing:
        check_url("https://nothing.invalid/", allow_private=False)

    assert str(hanging.value) == str(missing.value)
