"""One caller gets no more than the rate in production, however the requests are made."""

from __future__ import annotations

import bz2
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.conf import settings

from tests.support.archive_files import tar_of
from tests.support.factories import image_bytes
from tests.support.installation import Installation, Service
from tests.support.servers import RedisServer, free_port
from tests.web.test_descriptors import body_of, posted
from tests.web.test_production import PRODUCTION

pytestmark = pytest.mark.own_servers

USERS = ("ann", "bob", "eve", "mallory")
PHOTO = image_bytes(size=(16, 12))


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def installation(tmp_path_factory, tiny_checkpoint, redis) -> Installation:
    """With workers somewhere else, so that queued images stay in the queue."""
    own = {
        "SECRET_KEY": settings.SECRET_KEY,  # the tests sign the sessions in with it
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        "CACHE_URL": redis.url,
    }
    folder = tmp_path_factory.mktemp("limits")
    installation = Installation(folder, tiny_checkpoint, **PRODUCTION | own)
    installation.make_database(*USERS)
    return installation


@pytest.fixture(scope="module")
def sessions(installation) -> dict[str, str]:
    """The cookie of each user."""
    return {name: installation.signed_in(name)["cookies"][0]["value"] for name in USERS}


def sent(service: Service, session: str, body: bytes) -> requests.Response:
    return posted(service, "/api/batches/", body, sessionid=session)


def archive_body(data: bytes) -> bytes:
    return body_of([data]).replace(b'name="images"', b'name="archive"', 1)


def assert_throttled(response: requests.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (429, "throttled")
    assert 0 < int(response.headers["Retry-After"]) <= 60


def test_of_four_batches_of_61_at_the_same_moment_one_is_queued(service, installation, sessions):
    body = body_of([PHOTO] * 61)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: sent(service, sessions["ann"], body), range(4)))

    accepted, *refused = sorted(answers, key=lambda answer: answer.status_code)
    assert accepted.status_code == 202, accepted.text
    for answer in refused:
        assert_throttled(answer)
    batch = f"where batch_id = '{accepted.json()['batch_id']}'"
    assert installation.query(f"select count(*) from queued_images {batch}") == [(61,)]
    assert installation.query("select count(*) from queued_images") == [(61,)]


def test_an_archive_of_a_gigabyte_in_a_kilobyte_is_stopped_and_counted(service, sessions):
    member = tarfile.TarInfo("a.bmp")
    member.size = 1000 * 2**20
    bomb = bz2.compress(member.tobuf()) + bz2.compress(bytes(10 * 2**20)) * 100

    refused = sent(service, sessions["bob"], archive_body(bomb))

    assert (refused.status_code, refused.json()["code"]) == (413, "archive_too_large")
    assert_throttled(sent(service, sessions["bob"], body_of([PHOTO])))


def test_a_broken_archive_of_300_images_is_counted(service, installation, sessions):
    before = installation.files
    whole = tar_of({f"{number}.jpg": PHOTO for number in range(301)})
    broken = archive_body(whole[: whole.rindex(PHOTO)])

    refused = sent(service, sessions["eve"], broken)

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_archive")
    assert installation.files == before
    assert_throttled(sent(service, sessions["eve"], broken))


def test_of_four_archives_at_the_same_moment_one_is_read(service, sessions):
    body = archive_body(tar_of({f"{number}.jpg": PHOTO for number in range(61)}))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: sent(service, sessions["mallory"], body), range(4)))

    accepted, *refused = sorted(answers, key=lambda answer: answer.status_code)
    assert accepted.status_code == 202, accepted.text
    for answer in refused:
        assert_throttled(answer)
