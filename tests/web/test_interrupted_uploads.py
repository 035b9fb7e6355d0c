"""Requests that break off at the worker: half a body is no request."""

from __future__ import annotations

import json
import socket
import tempfile
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from d3site import deadline_socket
from d3site.deadline_socket import DeadlineSocket
from d3site.gunicorn_worker import DeadlineWorker
from d3site.wsgi import application
from detection.models import PredictionBatch
from tests.support.api import a_user, assert_nothing_stored
from tests.support.factories import image_bytes
from tests.support.production import form_body

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

Sending = PredictionBatch.Sending
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def worker(monkeypatch) -> DeadlineWorker:
    """A worker of gunicorn without processes and threads, and with the test's database."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    monkeypatch.setattr(deadline_socket, "BODY_SECONDS", 0.3)
    config = Config()
    worker = DeadlineWorker(0, 0, [], SimpleNamespace(), 30, config, Logger(config))
    worker.wsgi = application
    yield worker
    worker.tmp.close()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


class Connection:
    """A client's end of a connection, with the worker at the other end."""

    def __init__(self, worker: DeadlineWorker) -> None:
        self.client, ours = socket.socketpair()
        self._worker = worker
        self._ours = TConn(worker.cfg, DeadlineSocket(ours), ("127.0.0.1", 4000), ("127.0.0.1", 80))

    def answer(self, data: bytes, *, half_closed: bool = False) -> tuple[int, dict, bool]:
        """Return status and body of the answer, and whether the connection stays open."""
        self.client.sendall(data)
        if half_closed:
            self.client.shutdown(socket.SHUT_WR)
        kept = self._worker.handle(self._ours)
        response = HTTPResponse(self.client)
        response.begin()
        return response.status, json.load(response), kept

    def close(self) -> None:
        self.client.close()
        self._ours.close()


@pytest.fixture
def connection(worker):
    connection = Connection(worker)
    yield connection
    connection.close()


def body_of(images: int, **fields: str) -> bytes:
    return form_body(images=[image_bytes(seed=seed) for seed in range(images)], **fields)


def head_of(path: str, length: int, *more: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {length}",
        "Content-Type: multipart/form-data; boundary=b",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_whole_batch_is_judged_and_the_connection_stays_open(connection):
    body = body_of(3)

    status, answer, kept = connection.answer(head_of("/api/batches/", len(body)) + body)

    assert (status, answer["successful"], kept) == (200, 3, True)


@pytest.mark.parametrize("half_closed", [False, True], ids=["stalled", "hung up"])
def test_a_batch_that_breaks_off_in_its_second_file_is_refused(
    connection, stored_files, half_closed
):
    body = body_of(3, store="false")
    begun = body[: body.index(b"1.jpg") + 300]

    status, answer, kept = connection.answer(
        head_of("/api/batches/", len(body)) + begun, half_closed=half_closed
    )

    assert (status, answer["code"]) == (400, "upload_interrupted")
    assert half_closed or not kept
    assert_nothing_stored(stored_files)


def test_files_on_disk_of_a_batch_that_breaks_off_are_deleted(
    connection, settings, tmp_path, monkeypatch
):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    body = body_of(3)
    begun = body[: body.index(b"1.jpg") + 300]
    before = set(Path("/proc/self/fd").iterdir())

    status, answer, _ = connection.answer(
        head_of("/api/batches/", len(body)) + begun, half_closed=True
    )

    assert (status, answer["code"]) == (400, "upload_interrupted")
    assert list(tmp_path.glob("d3-upload-*")) == []
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_the_last_part_of_a_batch_that_breaks_off_does_not_end_it(connection):
    """Send it for a signed-in user: the check of the form reads the body before the view does."""
    client, ann = Client(), a_user()
    client.force_login(ann)
    batch = PredictionBatch.objects.create(total_images=1, owner=ann, sending=Sending.OPEN)
    cookie = f"sessionid={client.cookies['sessionid'].value}; csrftoken={'a' * 32}"
    body = body_of(1)
    head = head_of(
        f"/api/batches/{batch.pk}/images/",
        len(body),
        f"Cookie: {cookie}",
        f"X-CSRFToken: {'a' * 32}",
    )

    status, answer, _ = connection.answer(head + body[:300])

    assert (status, answer["code"]) == (400, "upload_interrupted")
    batch.refresh_from_db()
    assert batch.sending == Sending.OPEN


@pytest.mark.parametrize(
    ("path", "status"), [("/api/batches/", 400), ("/nowhere", 404)], ids=["read", "unread"]
)
def test_the_rest_of_a_stalled_body_is_no_request(connection, path, status):
    body = body_of(1)

    got, _, kept = connection.answer(head_of(path, len(body) + len(SMUGGLED)) + body[:300])

    assert (got, kept) == (status, False)
