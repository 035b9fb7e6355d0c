from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.errors import DatabaseUnavailableError, StorageUnavailableError
from detection.judging.predict import predict_image
from detection.models import Prediction, PredictionBatch
from detection.records import undoing
from detection.records.batches import open_batch
from tests.support.factories import an_upload
from tests.support.settings import ON_SERVERS, S3
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(undoing, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(undoing, "SECOND_LOOK_SECONDS", 0.5)


@pytest.mark.parametrize(
    "cause",
    [DatabaseUnavailableError("down"), StorageUnavailableError("down"), KeyboardInterrupt()],
)
def test_records_and_files_are_deleted_whatever_the_cause(cause, stored_files):
    prediction = predict_image(upload=an_upload(), source="api")
    batch = open_batch(total_images=1, source="batch")

    undoing.undo_writes(cause=cause, predictions=[prediction], batches=[batch])

    assert eventually(lambda: not Prediction.objects.exists())
    assert eventually(lambda: not PredictionBatch.objects.exists())
    assert eventually(lambda: stored_files() == [])


def test_a_late_write_is_found_by_the_second_look(stored_files, monkeypatch):
    monkeypatch.setattr(undoing, "SECOND_LOOK_SECONDS", 3)
    # The first look ends when the call returns, so it cannot see a half-written file.
    undoing.undo_writes(cause=DatabaseUnavailableError("slow"), files=["results/late.jpg"])
    assert stored_files() == []

    default_storage.save("results/late.jpg", ContentFile(b"the server was slow"))

    assert eventually(lambda: stored_files() == [])


def test_files_that_cannot_be_deleted_now_are_deleted_later(storage, stored_files, tmp_path):
    default_storage.save("results/a.jpg", ContentFile(b"a"))
    if ON_SERVERS:
        S3.hang()
        undoing.undo_writes(cause=StorageUnavailableError("down"), files=["results/a.jpg"])
        S3.resume()
    else:
        (tmp_path / "files").rename(tmp_path / "away")
        (tmp_path / "files").write_text("not a folder")
        undoing.undo_writes(cause=StorageUnavailableError("down"), files=["results/a.jpg"])
        (tmp_path / "files").unlink()
        (tmp_path / "away").rename(tmp_path / "files")

    assert eventually(lambda: stored_files() == [])


def test_at_the_end_of_the_process_pending_deletions_are_tried_once_more(stored_files):
    waiting = undoing._Waiting()
    for name, seconds in (("results/a.jpg", 0), ("results/b.jpg", 60)):
        default_storage.save(name, ContentFile(b"a"))
        waiting.add(undoing._Leftovers({}, [name]), after=seconds)
    assert eventually(lambda: stored_files() == ["results/b.jpg"])

    waiting.settle()

    assert stored_files() == []
    # A thread that survives its test waits for the lock of the next test's transaction.
    assert eventually(lambda: waiting._thread is None, seconds=30)


def test_without_writes_undoing_deletes_nothing(stored_files):
    default_storage.save("results/a.jpg", ContentFile(b"a"))

    undoing.undo_writes(cause=DatabaseUnavailableError("down"))

    assert stored_files() == ["results/a.jpg"]
