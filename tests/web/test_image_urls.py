"""Images by their URLs at a service that may fetch them from this computer. ``test_production`` has
the rules of the internet.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from detection.web.image_urls import MAX_FETCHING
from tests.support.api import assert_refused
from tests.support.factories import image_bytes
from tests.support.production import PRODUCTION, sent
from tests.support.waiting import eventually

pytestmark = pytest.mark.own_servers


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return PRODUCTION | {
        "API_ACCESS": "open",
        "ALLOW_IMAGE_URLS": "true",
        "IMAGE_URL_ALLOW_PRIVATE": "true",
        "THROTTLE_PREDICT": "",
        "THROTTLE_IMAGE_URL": "30/min",
    }


def caller(number: int) -> dict[str, str]:
    """Return the header in which the proxy sends a client's address."""
    return {"X-Forwarded-For": f"203.0.113.{number}"}


def test_urls_have_a_throttle_of_their_own(service, server):
    urls = [server.url("/status/404")] * 15

    for _ in range(2):
        answer = sent(service, "/api/batches/", caller(6), image_url=urls, store="false")
        assert answer.status_code == 200
    refused = sent(service, "/api/predict/", caller(6), image_url=server.url())

    assert_refused(refused, 429, "throttled")
    assert len(server.requests) == 30
    assert sent(service, "/api/predict/", caller(6), image=image_bytes()).status_code == 200


def test_slow_hosts_hold_some_requests_and_no_others(service, server):
    def ask(number: int) -> int:
        url = server.url("/held")
        return sent(service, "/api/predict/", caller(100 + number), image_url=url).status_code

    with ThreadPoolExecutor(MAX_FETCHING) as threads:
        held = threads.map(ask, range(MAX_FETCHING))
        assert eventually(lambda: server.held == MAX_FETCHING)
        refused = sent(service, "/api/predict/", caller(7), image_url=server.url())
        judged = sent(service, "/api/predict/", caller(7), image=image_bytes())
        server.release()

    assert_refused(refused, 503, "queue_full")
    assert judged.status_code == 200
    assert list(held) == [200] * MAX_FETCHING
