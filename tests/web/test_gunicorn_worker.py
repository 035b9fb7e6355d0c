from __future__ import annotations

import json
import selectors
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from queue import Queue
from types import SimpleNamespace

import pytest
import trustme
from django.test import RequestFactory
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn
from rest_framework.throttling import BaseThrottle

from d3site import gunicorn_worker, request_turns
from d3site.deadline_socket import DeadlineSocket
from d3site.gunicorn_worker import DeadlineWorker, network_of
from tests.support.failures import raising

pytestmark = pytest.mark.stateless


@pytest.fixture
def worker():
    config = Config()
    worker = DeadlineWorker(0, 0, [], SimpleNamespace(), 30, config, Logger(config))
    worker.poller = selectors.DefaultSelector()
    yield worker
    worker.poller.close()
    worker.tmp.close()


def test_the_main_thread_does_not_wait_until_a_client_closes(worker):
    """The main thread accepts all connections. Plain gunicorn would wait in it for two seconds."""
    client, server = socket.socketpair()
    connection = TConn(worker.cfg, DeadlineSocket(server), ("192.0.2.1", 4000), ("192.0.2.2", 80))
    worker.nr_conns = 1
    answered: Future[bool] = Future()
    answered.set_result(False)  # it was the last request of its connection

    worker.finish_request(connection, answered)

    assert client.recv(1) == b""
    assert connection.sock.fileno() != -1  # open
    client.close()
    worker.wait_for_and_dispatch_events(timeout=20)
    assert connection.sock.fileno() == -1
    assert worker.nr_conns == 0


@contextmanager
def listening(worker: DeadlineWorker, *sources: str) -> Iterator[tuple[list[socket.socket], ...]]:
    """Yield a listener, and clients from these addresses that are not accepted yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.settimeout(0)
        address = listener.getsockname()
        clients = [
            stack.enter_context(
                socket.create_connection(address, timeout=20, source_address=(source, 0))
            )
            for source in sources
        ]
        yield listener, clients


def test_all_waiting_connections_are_accepted_together(worker):
    """Otherwise clients would wait for a whole flood, one turn of the main thread for each."""
    worker.max_per_address = 2
    with listening(worker, *["127.0.0.2"] * 5, "127.0.0.3") as (listener, clients):
        worker.accept(listener)

        assert worker.nr_conns == 3
        for refused in clients[2:5]:
            assert b"503" in refused.recv(1000)
            assert refused.recv(1) == b""
        for connection in list(worker._heads):
            worker._drop(connection)
    assert worker.nr_conns == 0


def test_an_endless_head_is_refused_like_others_that_are_too_large(worker):
    client, server = socket.socketpair()
    client.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 2**13)
    worker.nr_conns = 1
    connection = TConn(worker.cfg, server, ("192.0.2.1", 4000), ("192.0.2.2", 80))
    worker.enqueue_req(connection)
    while connection in worker._heads:
        worker.wait_for_and_dispatch_events(timeout=20)

    head, body = client.recv(1000).split(b"\r\n\r\n")
    assert b"431" in head
    assert json.loads(body)["code"] == "headers_too_large"
    worker._drop(connection)
    client.close()


class Held:
    """An application that answers a path when the test releases it."""

    def __init__(self, *paths: str) -> None:
        self.started: Queue[str] = Queue()
        self.released = {path: threading.Event() for path in paths}

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        self.started.put(path)
        assert self.released[path].wait(20)
        return says_hello(environ, start_response)


def asked(
    worker: DeadlineWorker, address: str, path: str, *headers: str, method: str = "GET"
) -> socket.socket:
    """Send a request to the worker, whose main thread is this one; return the client."""
    client, server = socket.socketpair()
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    client.sendall("\r\n".join(head).encode())
    worker.nr_conns += 1
    worker.enqueue_req(TConn(worker.cfg, server, (address, 4000), ("127.0.0.1", 80)))
    worker.wait_for_and_dispatch_events(timeout=0)
    return client


@pytest.fixture
def held(worker, monkeypatch) -> Iterator[Held]:
    monkeypatch.setattr(request_turns, "STARTING_SECONDS", 3600)
    held = worker.wsgi = Held("/a1", "/a2", "/b1")
    worker.method_queue.init()
    worker.poller.register(
        worker.method_queue.fileno(), selectors.EVENT_READ, worker.method_queue.run_callbacks
    )
    with ThreadPoolExecutor(8) as worker.tpool:
        yield held
        for event in held.released.values():
            event.set()
    worker.method_queue.close()


ONE, OTHER = "X-Forwarded-For: 192.0.2.1, 192.0.2.8", "X-Forwarded-For: 192.0.2.1, 192.0.2.9"


@pytest.mark.parametrize(
    ("proxies", "callers"),
    [
        (0, [("192.0.2.1",), ("192.0.2.1",), ("192.0.2.2",)]),
        (1, [("192.0.2.7", ONE), ("192.0.2.7", ONE), ("192.0.2.7", OTHER)]),
    ],
    ids=["direct", "behind a proxy"],
)
def test_a_request_starts_before_those_of_a_caller_with_many(worker, held, proxies, callers):
    worker.trusted_proxies = proxies
    (one, *head), _, (other, *other_head) = callers
    with asked(worker, one, "/a1", *head) as client, asked(worker, one, "/a2", *head):
        assert held.started.get(timeout=20) == "/a1"
        with asked(worker, other, "/b1", *other_head):
            assert held.started.get(timeout=20) == "/b1"
            assert held.started.empty()  # /a2 waits
            held.released["/b1"].set()
            while held.started.empty():
                worker.wait_for_and_dispatch_events(timeout=0.01)
            assert held.started.get() == "/a2"
        held.released["/a1"].set()
        client.settimeout(20)
        assert b"200 OK" in client.recv(1000)


def test_pages_of_a_caller_open_while_its_images_are_judged(worker, held):
    with (
        asked(worker, "192.0.2.1", "/a1", method="POST"),
        asked(worker, "192.0.2.1", "/a2", method="POST"),
        asked(worker, "192.0.2.1", "/b1"),
    ):
        assert {held.started.get(timeout=20) for _ in range(2)} == {"/a1", "/b1"}
        assert held.started.empty()  # /a2 waits


def test_a_client_that_delays_its_request_delays_no_other(worker, held, monkeypatch):
    def receives(environ, start_response):
        if environ["PATH_INFO"] == "/a1":
            environ["gunicorn.socket"].recv(1)
        return held(environ, start_response)

    worker.wsgi = receives
    with asked(worker, "192.0.2.1", "/a1") as slow, asked(worker, "192.0.2.1", "/a2"):
        while held.started.empty():
            worker.wait_for_and_dispatch_events(timeout=0.01)
        assert held.started.get() == "/a2"
        slow.sendall(b"x")


def test_memory_is_released_while_no_request_runs(worker, held, monkeypatch):
    """Releasing memory would delay a request."""
    released = []
    monkeypatch.setattr(gunicorn_worker, "RELEASE_SECONDS", 0)
    monkeypatch.setattr(gunicorn_worker, "release_freed_memory", lambda: released.append(True))
    with asked(worker, "192.0.2.1", "/a1"):
        worker.murder_pending()
        assert not released
        held.released["/a1"].set()
        while worker._running:
            worker.wait_for_and_dispatch_events(timeout=0.01)
        worker.murder_pending()
        assert released


@pytest.mark.parametrize("proxies", [0, 1, 2, 5])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["X-Forwarded-For: 192.0.2.1"],
        ["x-forwarded-for:192.0.2.1,192.0.2.2 , 192.0.2.3"],
        ["X-Forwarded-For: 192.0.2.1", "X-Other: 192.0.2.9", "X-Forwarded-For: 192.0.2.2"],
        ["X-Not-X-Forwarded-For: 192.0.2.1"],
    ],
)
def test_callers_are_identified_as_in_the_throttles(worker, settings, headers, proxies):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": proxies}
    worker.trusted_proxies = proxies
    values = [
        line.partition(":")[2].strip()
        for line in headers
        if line.lower().startswith("x-forwarded-for")
    ]
    forwarded = {"HTTP_X_FORWARDED_FOR": ",".join(values)} if values else {}
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", **forwarded)
    client, server = socket.socketpair()
    connection = TConn(worker.cfg, DeadlineSocket(server), ("192.0.2.7", 4000), ("192.0.2.8", 80))
    client.sendall("\r\n".join(["GET / HTTP/1.1", *headers, "", "X-Forwarded-For: body"]).encode())
    assert connection.sock.receive_head()

    assert worker._caller(connection) == (BaseThrottle().get_ident(request), True)
    client.close()
    connection.close()


BURST = """
from pathlib import Path
from d3site.gunicorn_worker import release_freed_memory

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

blocks = [bytes(2000) for _ in range(100_000)]
del blocks[:-1]  # the last one keeps the heap from shrinking
before = pages()
release_freed_memory()
print((before - pages()) * 4096)
"""


def test_memory_of_a_burst_is_released():
    finished = subprocess.run([sys.executable, "-c", BURST], capture_output=True, check=True)

    assert int(finished.stdout) > 100 * 2**20


@pytest.mark.parametrize(
    ("client", "network"),
    [
        (("192.0.2.1", 4000), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 4000, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 4000, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.1", 4000, 0, 0), "192.0.2.1"),
        ("", ""),
    ],
)
def test_a_client_has_the_network_of_its_address(client, network):
    assert network_of(client) == network


def test_a_connection_over_tls_serves_several_requests(worker, tmp_path):
    authority = trustme.CA()
    file = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
    worker.cfg.set("certfile", str(file))
    worker.wsgi = says_hello
    client, server = socket.socketpair()
    connection = TConn(worker.cfg, server, ("127.0.0.1", 4000), ("127.0.0.1", 443))

    with ThreadPoolExecutor(1) as thread:
        answers = thread.submit(asked_twice, client, authority)
        kept = [worker.handle(connection), worker.handle(connection)]

        assert answers.result() == [b"hello", b"hello"]
    assert kept == [True, True]
    connection.close()


def answer_of(worker: DeadlineWorker, request: bytes) -> HTTPResponse:
    client, server = socket.socketpair()
    with client:
        client.settimeout(20)
        client.sendall(request)
        connection = TConn(worker.cfg, server, ("127.0.0.1", 4000), ("127.0.0.1", 80))
        assert worker.handle(connection) is False
        connection.close()
        response = HTTPResponse(client)
        response.begin()
        response.text = response.read()
    return response


REFUSED = {
    "no request": (b"\x16\x03\x01 no request\r\n\r\n", 400, "bad_request"),
    "a long address": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "address_too_long"),
    "an expectation": (
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n",
        417,
        "expectation_failed",
    ),
    "a large header": (
        b"GET / HTTP/1.1\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
        431,
        "headers_too_large",
    ),
    "many headers": (
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        431,
        "headers_too_large",
    ),
    "a bad header": (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400, "bad_request"),
    "another coding": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip, chunked\r\n\r\n",
        501,
        "not_implemented",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_by_gunicorn_has_the_shape_of_all_errors(worker, request_bytes, status, code):
    response = answer_of(worker, request_bytes)

    body = json.loads(response.text)
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json"
    assert (body.keys(), body["code"]) == ({"success", "error", "code"}, code)
    assert not body["success"]
    assert body["error"].endswith(".")


def test_an_application_that_breaks_is_an_internal_error(worker):
    worker.wsgi = raising(RuntimeError("a secret"))

    response = answer_of(worker, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert response.status == 500
    assert json.loads(response.text)["code"] == "internal_server_error"
    assert b"secret" not in response.text


def says_hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def asked_twice(client: socket.socket, authority: trustme.CA) -> list[bytes]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client.settimeout(20)
    answers = []
    with context.wrap_socket(client, server_hostname="localhost") as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = HTTPResponse(connection)
            response.begin()
            answers.append(response.read())
    return answers
