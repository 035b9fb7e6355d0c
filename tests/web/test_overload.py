"""More clients than there are places, at the service as `make run` starts it."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.support.api import assert_refused
from tests.support.factories import image_bytes
from tests.support.installation import Installation, Service
from tests.support.production import form_body
from tests.support.waiting import eventually

pytestmark = [pytest.mark.own_servers, pytest.mark.stateless]

PLACES = 2
HEAD = (
    "POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n"
    "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"MAX_WAITING_REQUESTS": str(PLACES), "DEBUG": "true", "SECRET_KEY": ""}


class HalfSent:
    """An admitted request whose body is incomplete."""

    def __init__(self, service: Service, *, seed: int) -> None:
        self._body = form_body(image=image_bytes(seed=seed))
        self._connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        self._connection.sendall(HEAD.format(len(self._body)).encode() + self._body[:-10])

    def finish(self) -> dict:
        """Send the rest of the body; return the answer."""
        self._connection.sendall(self._body[-10:])
        with self._connection, self._connection.makefile("rb") as answer:
            return json.loads(answer.read().partition(b"\r\n\r\n")[2])


def sent(service: Service, *, data: bytes | None = None) -> requests.Response:
    files = {"image": image_bytes(seed=99) if data is None else data}
    return requests.post(f"{service.url}/predict", files=files, timeout=30)


def counted(service: Service, metric: str, **labels: str) -> float:
    """Return the value of a metric; 0 before the first count."""
    page = requests.get(f"{service.url}/metrics", timeout=30).text
    samples = [sample for family in parsed(page) for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    )


def hung_up_on(service: Service, path: str) -> float:
    return counted(service, "d3_http_requests_total", route=path, status="499")


def stored_counts(installation: Installation) -> tuple:
    """Return the numbers of records and files."""
    tables = ("predictions", "prediction_batches")
    rows = [installation.query(f"SELECT count(*) FROM {table}") for table in tables]
    return rows, installation.files


@contextmanager
def every_place_taken(service: Service) -> Iterator[list[HalfSent]]:
    waiting = [HalfSent(service, seed=seed) for seed in range(PLACES)]
    # The request for the metric is in progress too.
    assert eventually(lambda: counted(service, "d3_http_requests_in_progress") > PLACES)
    assert eventually(lambda: sent(service).status_code == 503)
    yield waiting


def test_a_full_service_refuses_at_once_answers_readers_and_finishes_what_it_took(service):
    with every_place_taken(service) as waiting:
        refused = sent(service)
        large = sent(service, data=bytes(5 * 2**20))
        reading = [
            requests.get(f"{service.url}{path}", timeout=30)
            for path in ("/health", "/api/predictions/", "/api/statistics/", "/history/", "/")
        ]
        finished = [each.finish() for each in waiting]

    for response in (refused, large):
        assert_refused(response, 503, "queue_full")
    assert [response.status_code for response in reading] == [200] * 5
    assert [answer["success"] for answer in finished] == [True] * PLACES
    assert sent(service).status_code == 200


def test_clients_that_hang_up_release_their_places(service):
    with every_place_taken(service) as waiting:
        for each in waiting:
            each._connection.close()

        assert eventually(lambda: sent(service).status_code == 200)


@pytest.mark.parametrize(
    ("path", "field", "images"), [("/predict/", "image", 1), ("/api/batches/", "images", 3)]
)
def test_an_image_whose_client_hung_up_is_not_judged(service, installation, path, field, images):
    before = stored_counts(installation)
    judged, hung_up = counted(service, "d3_model_images_total"), hung_up_on(service, path)
    body = form_body(**{field: [image_bytes(seed=200 + number) for number in range(images)]})
    head = HEAD.replace("/predict ", f"{path} ").format(len(body)).encode()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head + body)

    assert eventually(lambda: hung_up_on(service, path) == hung_up + 1)
    assert counted(service, "d3_model_images_total") == judged
    assert stored_counts(installation) == before
    assert f"POST {path} 499" in service.log.read_text()


def test_a_client_that_sends_ahead_gets_all_its_answers(service):
    kept_open = HEAD.replace("Connection: close\r\n", "")
    ahead = b""
    for number, head in enumerate((kept_open, kept_open, HEAD)):
        body = form_body(image=image_bytes(seed=300 + number))
        ahead += head.format(len(body)).encode() + body
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(ahead)

        assert answers.read().count(b"HTTP/1.1 200 ") == 3


def test_accepted_work_is_finished_when_the_service_stops(service):
    with every_place_taken(service) as waiting, ThreadPoolExecutor(1) as stopper:
        service._process.send_signal(signal.SIGTERM)
        exit_code = stopper.submit(service._process.wait, 60)
        finished = [each.finish() for each in waiting]

    assert [answer["success"] for answer in finished] == [True] * PLACES
    assert exit_code.result() == 0
    service.start()
