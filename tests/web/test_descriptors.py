"""The number of open files of a production worker while it receives thousands of files. The usual
limit of a process is 1,024.
"""

from __future__ import annotations

import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from detection.web.form_limits import MAX_ANONYMOUS_FORMS
from tests.support.api import assert_refused
from tests.support.factories import image_bytes
from tests.support.installation import Service
from tests.support.production import PRODUCTION, THROUGH_PROXY, browser, form_body, sent
from tests.support.servers import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.own_servers

SOFT_LIMIT = 1024
FURTHER_DESCRIPTORS = 20


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Configure workers that do not run, so that queued images stay in the queue."""
    return PRODUCTION | {"CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}


@pytest.fixture(scope="module")
def service(installation) -> Iterator[Service]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT_LIMIT, before[1]))  # children inherit it
    try:
        with installation.served() as service:
            yield service
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors(worker: int) -> int:
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


@contextmanager
def watched(worker: int) -> Iterator[list[int]]:
    """Record the number of the process's descriptors until the block ends."""
    seen, is_over = [], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            seen.append(descriptors(worker))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(watch)
        try:
            yield seen
        finally:
            is_over.set()


@pytest.mark.parametrize("size", [100, 2048], ids=["in memory", "on disk"])
def test_an_anonymous_form_of_1500_parts_opens_no_files(service, size):
    worker = service.worker
    before = descriptors(worker)
    with watched(worker) as seen:
        # The check of the form reads the body before the user is known.
        response = sent(service, "/admin/", browser(), images=[bytes(size)] * 1500)
        time.sleep(0.1)

    assert max(seen) <= before + FURTHER_DESCRIPTORS
    assert response.status_code == 413
    assert response.json()["success"] is False
    assert service.worker == worker
    assert requests.get(f"{service.url}/health/live", headers=THROUGH_PROXY, timeout=30).ok


def test_only_some_anonymous_forms_are_read_at_a_time(service):
    """Begin requests whose bodies stay incomplete."""
    headers = browser() | {"Content-Type": "multipart/form-data; boundary=b"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    half = f"POST /admin/ HTTP/1.1\r\nContent-Length: 100\r\n{lines}\r\n--b".encode()

    def answer() -> requests.Response:
        return sent(service, "/admin/", browser())

    address = ("127.0.0.1", service.port)
    with ExitStack() as connections:
        for _ in range(MAX_ANONYMOUS_FORMS):
            connection = socket.create_connection(address, timeout=60)
            connections.enter_context(connection).sendall(half)
        assert eventually(lambda: answer().status_code == 503)
        assert_refused(answer(), 503, "queue_full")
    assert eventually(lambda: answer().status_code != 503)


def test_a_batch_of_1101_small_files_is_queued(service, installation):
    worker = service.worker
    before = descriptors(worker)
    [cookie] = installation.signed_in("ann")["cookies"]
    form = {"images": [image_bytes()] * 1101, "async": "true"}
    assert len(form_body(**form)) > 2.5 * 2**20  # the body does not stay in memory

    with watched(worker) as seen:
        response = sent(service, "/api/batches/", browser(cookie["value"]), **form)

    assert response.status_code == 202, response.text
    assert response.json()["total_images"] == 1101
    assert installation.query("select count(*) from queued_images") == [(1101,)]
    assert max(seen) <= before + FURTHER_DESCRIPTORS
    assert service.worker == worker


def test_the_worker_may_open_more_files_than_the_soft_limit(service):
    limits = Path(f"/proc/{service.worker}/limits").read_text()
    [soft] = re.findall(r"Max open files\s+(\d+)", limits)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert int(soft) == min(hard, 65_536)
