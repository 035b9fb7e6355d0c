"""Files of requests that are too large for memory: their folder, and their deletion."""

from __future__ import annotations

import tempfile

import pytest

from detection.d3.errors import ImageError
from detection.models import Prediction, QueuedImage
from detection.web.upload_folder import UploadFolder
from tests.support.api import a_file, assert_nothing_stored, assert_refused, files, sent
from tests.support.archive_files import PHOTO, archive_of

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("tiny_checkpoint", "no_judging", "nothing_in_memory"),
]


@pytest.fixture
def nothing_in_memory(settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the test's temporary files. PyTorch may have others there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_files_are_deleted_with_the_request(client, folder):
    assert sent(client, *files(3)).status_code == 200
    assert_refused(client.post("/predict", {"file": a_file()}), 400, "missing_image")
    assert_refused(client.post("/predict", {"image": files(2)}), 400, "too_many_images")

    assert Prediction.objects.count() == 3
    assert list(folder.glob("*upload*")) == []


@pytest.mark.parametrize("kind", ["zip", "tar.xz"])
def test_an_archive_is_read_from_disk(client, folder, kind):
    archive = archive_of(kind, {"a.jpg": PHOTO, "b.jpg": PHOTO})

    response = client.post(
        "/api/batches/", {"archive": a_file(f"a.{kind}", archive), "async": "true"}
    )

    assert response.status_code == 202
    assert QueuedImage.objects.count() == 2
    assert list(folder.glob("*upload*")) == []


def test_a_full_disk_is_503_and_leaves_nothing(client, folder, stored_files):
    folder.rmdir()

    response = sent(client, *files(2))

    assert "disk for uploads is full" in assert_refused(response, 503, "storage_unavailable")
    assert_nothing_stored(stored_files)


def test_fetched_images_are_on_disk_until_the_answer(client, folder, server):
    urls = [server.url(path) for path in ("/a.jpg", "/status/404", "/text", "/b.jpg")]

    body = client.post("/api/batches/", {"image_url": urls}).json()

    assert (body["successful"], body["failed"]) == (2, 2)
    assert list(folder.glob("*upload*")) == []


def test_a_full_disk_is_503_for_fetched_images_too(client, folder, server, stored_files):
    folder.rmdir()

    response = client.post("/api/predict/", {"image_url": server.url()})

    assert "disk for uploads is full" in assert_refused(response, 503, "storage_unavailable")
    assert_nothing_stored(stored_files)


def test_an_interrupted_image_leaves_no_file(folder, rf):
    def breaks_off():
        yield b"some bytes"
        raise ImageError("The host sends no more.")

    uploads = UploadFolder(rf.post("/"))
    with pytest.raises(ImageError):
        uploads.store(breaks_off())

    [own] = folder.iterdir()
    assert list(own.iterdir()) == []
    uploads.delete()
    assert list(folder.iterdir()) == []
