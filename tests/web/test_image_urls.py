"""Images by their URLs at a service that may fetch them from this computer. ``test_production`` has
the rules of the internet.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from detection.web.image_urls import MAX_FETCHING
from tests.support.factories import image_bytes
from tests.support.image_server import IMAGE, ImageServer
from tests.support.installation import Installation, Service
from tests.support.waiting import eventually
from tests.web.test_production import PRODUCTION, THROUGH_PROXY

pytestmark = pytest.mark.own_servers


@pytest.fixture(scope="module")
def installation(tmp_path_factory, tiny_checkpoint) -> Installation:
    environment = PRODUCTION | {
        "API_ACCESS": "open",
        "ALLOW_IMAGE_URLS": "true",
        "IMAGE_URL_ALLOW_PRIVATE": "true",
        "THROTTLE_PREDICT": "",
        "THROTTLE_IMAGE_URL": "30/min",
    }
    installation = Installation(tmp_path_factory.mktemp("urls"), tiny_checkpoint, **environment)
    installation.make_database()
    return installation


@pytest.fixture
def server():
    with ImageServer() as server:
        yield server


def post(service: Service, path: str, caller: str, **form: object) -> requests.Response:
    """Send a multipart form, as the client at the address ``caller``."""
    files = [
        (name, (None, value) if isinstance(value, str) else ("sent.jpg", value))
        for name, values in form.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    headers = THROUGH_PROXY | {"X-Forwarded-For": caller}
    return requests.post(f"{service.url}{path}", files=files, headers=headers, timeout=60)


def test_an_image_is_judged_by_its_url(service, server):
    url = server.url("/hops/2")

    answer = post(service, "/api/predict/", "203.0.113.4", image_url=url)

    assert answer.status_code == 200, answer.text
    assert answer.json()["source_url"] == url
    assert answer.json()["image_info"]["size_bytes"] == len(IMAGE)


def test_a_batch_is_fetched_and_queued(service, server):
    urls = [server.url(f"/{number}.jpg") for number in range(6)]

    opened = post(
        service, "/api/batches/", "203.0.113.5", image_url=urls, **{"async": "true"}
    ).json()

    def batch() -> dict:
        path = f"{service.url}/api/batches/{opened['batch_id']}/"
        return requests.get(path, headers=THROUGH_PROXY, timeout=60).json()

    assert sorted(server.paths) == [f"/{number}.jpg" for number in range(6)]
    assert eventually(lambda: batch()["status"] == "done")
    assert [result["source_url"] for result in batch()["results"]] == urls


def test_urls_have_a_throttle_of_their_own(service, server):
    urls = [server.url("/status/404")] * 15
    caller = "203.0.113.6"

    for _ in range(2):
        answer = post(service, "/api/batches/", caller, image_url=urls, store="false")
        assert answer.status_code == 200
    refused = post(service, "/api/predict/", caller, image_url=server.url())

    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert len(server.asked) == 30
    assert post(service, "/api/predict/", caller, image=image_bytes()).status_code == 200


def test_slow_hosts_hold_some_requests_and_no_others(service, server):
    def ask(number: int) -> int:
        caller = f"203.0.113.{100 + number}"
        return post(service, "/api/predict/", caller, image_url=server.url("/held")).status_code

    with ThreadPoolExecutor(MAX_FETCHING) as threads:
        held = threads.map(ask, range(MAX_FETCHING))
        assert eventually(lambda: server.held == MAX_FETCHING)
        refused = post(service, "/api/predict/", "203.0.113.7", image_url=server.url())
        sent = post(service, "/api/predict/", "203.0.113.7", image=image_bytes())
        server.release()

    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert int(refused.headers["Retry-After"]) > 0
    assert sent.status_code == 200
    assert list(held) == [200] * MAX_FETCHING
