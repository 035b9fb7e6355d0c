from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.test import Client, TransactionTestCase
from rest_framework.throttling import SimpleRateThrottle

from detection.d3.checkpoints.tower_file import CLIP_VIT_B_16, default_cache
from detection.queue import local_worker
from detection.records import undoing
from detection.upkeep import recounting
from tests.support.browser import chromium
from tests.support.emptying import empty_database
from tests.support.image_server import ImageServer
from tests.support.installation import Installation, Service
from tests.support.outages import lost_records
from tests.support.people import a_moderator
from tests.support.settings import ON_SERVERS, S3
from tests.support.tiny_checkpoint import save_untrained
from tests.support.waiting import eventually

_numbers = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that parallel processes end at about the same time."""
    length = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        long = 2 if "slow" in marks else 1 if "own_servers" in marks else 0
        length[item.path] = max(long, length.get(item.path, 0))
    items.sort(key=lambda item: -length[item.path])


@pytest.fixture(scope="session")
def tower_path() -> Path:
    """CLIP's tower. Without it, CI fails, and other machines skip the tests."""
    path = CLIP_VIT_B_16.path(default_cache())
    if not path.exists():
        missing = f"There is no {path}; manage.py fetch_clip downloads it."
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """An untrained network as the configured checkpoint."""
    return save_untrained(Path(django_settings.MODEL_CHECKPOINT_PATH))


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Environment variables of the ``installation``; a file may override them."""
    return {}


@pytest.fixture(scope="module")
def installation(tmp_path_factory, tiny_checkpoint, environment) -> Installation:
    """An installation that the tests of a file share: no records, and the superuser ann."""
    folder = tmp_path_factory.mktemp("installation")
    installation = Installation(folder, tiny_checkpoint, **environment)
    installation.make_database("ann")
    return installation


@pytest.fixture(scope="module")
def service(installation: Installation) -> Iterator[Service]:
    """The service that the tests of a file share, with the ``installation`` of that file."""
    with installation.served() as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def one_browser():
    """All tests of a file share one browser."""
    yield
    chromium.close()


@pytest.fixture(scope="session", autouse=True)
def quick_emptying():
    """Empty the database quickly after tests whose transaction cannot be rolled back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: empty_database())
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_recounting():
    """Do not wait before totals are corrected: no test writes meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recounting, "SETTLE_SECONDS", 0)
        yield


@pytest.fixture(autouse=True)
def storage(settings, tmp_path):
    """Give each test its own folder or bucket."""
    if ON_SERVERS:  # the same client, since a new one takes a fifth of a second
        default_storage.bucket_name, default_storage._bucket = f"test-{next(_numbers)}", None
        return default_storage
    default = settings.STORAGES["default"]
    default = {**default, "OPTIONS": {**default["OPTIONS"], "location": tmp_path / "files"}}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return default_storage


@pytest.fixture(autouse=True)
def no_threads_left(storage):
    """End the threads of a test before its records, files and settings are deleted: a thread would
    write into the next test, or wait for the lock of that test's transaction.
    """
    yield
    local_worker.finish(within=0)
    assert eventually(_has_settled)


def _has_settled() -> bool:
    undoing._waiting.settle()
    return undoing._waiting._thread is None


@pytest.fixture
def storage_folder(settings, tmp_path) -> Path:
    """Store files in a folder on both pairs."""
    folder = tmp_path / "folder"
    backend = "detection.files.storage.SignedFileSystemStorage"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": {"location": folder}},
    }
    return folder


@pytest.fixture
def stored_files(storage):
    """A function that returns the names of all stored files."""

    def names(folder: str = "") -> list[str]:
        try:
            folders, files = default_storage.listdir(folder)
        except FileNotFoundError:
            return []
        deeper = [name for each in folders for name in names(posixpath.join(folder, each))]
        return sorted([*(posixpath.join(folder, file) for file in files), *deeper])

    return names


@pytest.fixture
def moderator(db) -> User:
    """A user who may only review."""
    return a_moderator()


@pytest.fixture
def moderator_client(moderator) -> Client:
    client = Client()
    client.force_login(moderator)
    return client


@pytest.fixture
def other_moderator(db) -> User:
    return a_moderator("bob")


@pytest.fixture
def other_client(other_moderator) -> Client:
    client = Client()
    client.force_login(other_moderator)
    return client


@pytest.fixture
def lost_database(transactional_db):
    """A database in which each query about predictions fails during the test."""
    with lost_records("predictions"):
        yield


@pytest.fixture
def lost_storage(storage, tmp_path):
    """A storage that refuses every file during the test."""
    if ON_SERVERS:
        S3.kill()
        yield
        S3.start()
        return
    (tmp_path / "files").write_text("not a folder")  # so that even root cannot write into it
    yield


@pytest.fixture
def rates(monkeypatch) -> dict[str, str]:
    """The rates of this test, by the scope of the throttle; a test may change them."""
    rates = dict(SimpleRateThrottle.THROTTLE_RATES)
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", rates)
    return rates


@pytest.fixture
def nothing_counted():
    """Let no request of another test count against the limits of this one."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def closed(settings) -> None:
    """Require a token or a session."""
    settings.API_ACCESS = "token"


@pytest.fixture
def own_network(settings):
    """Allow webhooks to addresses of this computer."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def own_pictures(settings):
    """Allow images by URL, also from this computer."""
    settings.ALLOW_IMAGE_URLS = settings.IMAGE_URL_ALLOW_PRIVATE = True


@pytest.fixture
def server(own_pictures) -> Iterator[ImageServer]:
    """A server of images from which the service may fetch."""
    with ImageServer() as server:
        yield server


@pytest.fixture
def no_judging(monkeypatch) -> None:
    """Leave images in the queue until the test judges them."""
    monkeypatch.setattr(local_worker, "start", lambda: None)
