"""One caller gets no more than the rate in production, however the requests are made."""

from __future__ import annotations

import bz2
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.api import assert_refused
from tests.support.archive_files import tar_of
from tests.support.factories import image_bytes
from tests.support.installation import Service
from tests.support.production import PRODUCTION, browser, sent
from tests.support.servers import RedisServer, free_port

pytestmark = pytest.mark.own_servers

PHOTO = image_bytes(size=(16, 12))


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def environment(redis) -> dict[str, str]:
    """Configure workers that do not run, so that queued images stay in the queue."""
    elsewhere = f"redis://127.0.0.1:{free_port()}/0"
    return PRODUCTION | {"CELERY_BROKER_URL": elsewhere, "CACHE_URL": redis.url}


@pytest.fixture
def session(installation, request) -> str:
    """The cookie of a user of the test's own, named like it."""
    installation.add_superuser(request.node.name)
    return installation.signed_in(request.node.name)["cookies"][0]["value"]


def queued(service: Service, session: str, **form: object) -> requests.Response:
    return sent(service, "/api/batches/", browser(session), **form, **{"async": "true"})


def queued_four_times_at_once(service: Service, session: str, **form: object) -> dict:
    """Send a batch four times at the same moment. Return the body of the accepted answer."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: queued(service, session, **form), range(4)))
    accepted, *refused = sorted(answers, key=lambda answer: answer.status_code)
    assert accepted.status_code == 202, accepted.text
    for answer in refused:
        assert_throttled(answer)
    return accepted.json()


def assert_throttled(response: requests.Response) -> None:
    assert_refused(response, 429, "throttled")
    assert int(response.headers["Retry-After"]) <= 60


def test_one_of_four_simultaneous_batches_of_61_is_queued(service, installation, session):
    accepted = queued_four_times_at_once(service, session, images=[PHOTO] * 61)

    batch = f"where batch_id = '{accepted['batch_id']}'"
    assert installation.query(f"select count(*) from queued_images {batch}") == [(61,)]
    assert installation.query("select count(*) from queued_images") == [(61,)]


def test_an_archive_of_a_gigabyte_in_a_kilobyte_is_stopped_and_counted(service, session):
    member = tarfile.TarInfo("a.bmp")
    member.size = 1000 * 2**20
    bomb = bz2.compress(member.tobuf()) + bz2.compress(bytes(10 * 2**20)) * 100

    assert_refused(queued(service, session, archive=bomb), 413, "archive_too_large")
    assert_throttled(queued(service, session, images=PHOTO))


def test_a_broken_archive_of_300_images_is_counted(service, installation, session):
    before = installation.files
    whole = tar_of({f"{number}.jpg": PHOTO for number in range(301)})
    broken = whole[: whole.rindex(PHOTO)]

    assert_refused(queued(service, session, archive=broken), 400, "invalid_archive")
    assert installation.files == before
    assert_throttled(queued(service, session, archive=broken))


def test_one_of_four_simultaneous_archives_is_read(service, session):
    archive = tar_of({f"{number}.jpg": PHOTO for number in range(61)})

    queued_four_times_at_once(service, session, archive=archive)
