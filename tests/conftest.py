from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.test import Client, TransactionTestCase
from rest_framework.throttling import SimpleRateThrottle

from detection.d3.checkpoints.tower_file import CLIP_VIT_B_16, default_cache
from detection.queue import local_worker
from detection.records import undoing
from tests.support.browser import chromium
from tests.support.emptying import empty_database
from tests.support.installation import Installation, Service
from tests.support.outages import lost_records
from tests.support.people import a_moderator
from tests.support.settings import ON_SERVERS, S3
from tests.support.waiting import eventually

_numbers = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that no process is left with one when the others have ended."""
    length = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        long = 2 if "slow" in marks else 1 if "own_servers" in marks else 0
        length[item.path] = max(long, length.get(item.path, 0))
    items.sort(key=lambda item: -length[item.path])


@pytest.fixture(scope="session")
def tower_path() -> Path:
    """Where there is no tower, CI fails and other machines skip the tests."""
    path = CLIP_VIT_B_16.path(default_cache())
    if not path.exists():
        missing = f"There is no {path}; manage.py fetch_clip downloads it."
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """An untrained network, at the place where the process's detector looks for its checkpoint."""
    import torch

    from detection.d3.checkpoints.checkpoint import Checkpoint, save
    from detection.d3.network import Architecture, D3Network, ResidualTowerConfig
    from detection.d3.preprocessing import Preprocessing

    tower = ResidualTowerConfig(width=8, residuals=4, spatial=(4, 8), spectra=2, spectral=(4, 8))
    architecture = Architecture(tower=tower, image_size=64, shuffle_patch=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = D3Network(architecture)
    checkpoint = Checkpoint(
        name="d3-test",
        architecture=architecture,
        preprocessing=Preprocessing(kind="crops", size=64),
        weights=network.state_dict(),
    )
    save(checkpoint, django_settings.MODEL_CHECKPOINT_PATH)
    return Path(django_settings.MODEL_CHECKPOINT_PATH)


@pytest.fixture(scope="module")
def service(installation: Installation) -> Iterator[Service]:
    """The one that the tests of a file share, with what the file makes of its installation."""
    with installation.served() as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def one_browser():
    """For all tests of a file."""
    yield
    chromium.close()


@pytest.fixture(scope="session", autouse=True)
def quick_emptying():
    """After tests whose transaction cannot be rolled back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: empty_database())
        yield


@pytest.fixture(autouse=True)
def storage(settings, tmp_path):
    """Each test stores its files in a folder or a bucket of its own."""
    if ON_SERVERS:  # through one client, since a new one takes a fifth of a second
        default_storage.bucket_name, default_storage._bucket = f"test-{next(_numbers)}", None
        return default_storage
    default = settings.STORAGES["default"]
    default = {**default, "OPTIONS": {**default["OPTIONS"], "location": tmp_path / "files"}}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return default_storage


@pytest.fixture(autouse=True)
def nothing_goes_on(storage):
    """What a test left to other threads ends before its records, files and settings go: or it would
    write into the next one's, or wait for the lock of its transaction.
    """
    yield
    local_worker.finish(within=0)
    assert eventually(_has_settled)


def _has_settled() -> bool:
    undoing._waiting.settle()
    return undoing._waiting._thread is None


@pytest.fixture
def storage_folder(settings, tmp_path) -> Path:
    """Files in a folder, whatever the others are stored in."""
    folder = tmp_path / "folder"
    backend = "detection.files.storage.SignedFileSystemStorage"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": {"location": folder}},
    }
    return folder


@pytest.fixture
def stored_files(storage):
    """Asks for the names of all files that are stored now."""

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
    """Somebody who reviews and may do nothing else."""
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
    """A database that fails at each query about predictions, until the test is over."""
    with lost_records("predictions"):
        yield


@pytest.fixture
def lost_storage(storage, tmp_path):
    """A storage that takes nothing, until the test is over."""
    if ON_SERVERS:
        S3.kill()
        yield
        S3.start()
        return
    (tmp_path / "files").write_text("not a folder")  # so that even root cannot write into it
    yield


@pytest.fixture
def rates(monkeypatch) -> dict[str, str]:
    """How often callers may ask in this test, by the scope of the throttle."""
    rates = dict(SimpleRateThrottle.THROTTLE_RATES)
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", rates)
    return rates


@pytest.fixture
def own_network(settings):
    """Webhooks may go to this computer."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def nobody_judges(monkeypatch) -> None:
    """Images wait until a test has them judged."""
    monkeypatch.setattr(local_worker, "start", lambda: None)
