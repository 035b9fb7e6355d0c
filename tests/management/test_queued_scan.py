"""scan_folder --queue: a folder or a part of a bucket for the workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.queue import batches
from detection.queue.judging import judge_batch
from tests.support.commands import Failure, failure_of, printed_by
from tests.support.factories import image_bytes
from tests.support.settings import ON_SERVERS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty images, a text, and one image below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(40):
        (folder / f"{number:02}.jpg").write_bytes(image_bytes(size=(16, 12), seed=number))
    (folder / "more" / "last.jpg").write_bytes(image_bytes(seed=99))
    (folder / "ATTRIBUTION.md").write_text("# Where the images are from")
    (folder / "notes.png").write_text("just some words")
    return folder


def scan(place: Path | str, **options) -> str:
    return printed_by("scan_folder", place, queue=True, **options)


def failed_scan(place: Path | str, **options) -> Failure:
    return failure_of("scan_folder", place, queue=True, **options)


def test_without_a_broker_the_command_judges_what_it_sent(folder, stored_files):
    printed = scan(folder, recursive=True, threshold=0.0)

    batch = PredictionBatch.objects.get()
    assert f"Batch: {batch.pk}" in printed
    assert "41 images were judged, 1 could not be read." in printed
    assert (batch.source, batch.status, batch.total_images) == ("scan", "done", 42)
    assert (batch.successful, batch.failed) == (41, 1)
    assert [error["filename"] for error in batch.errors] == ["notes.png"]
    assert set(batch.predictions.values_list("source", "label")) == {("scan", "FAKE")}
    assert len(stored_files()) == 82


def test_links_that_lead_nowhere_and_pipes_are_refused(tmp_path):
    (tmp_path / "broken\udcf1").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe\udcf1.jpg")
    (tmp_path / "photo\udcf1.jpg").write_bytes(image_bytes())

    printed = scan(tmp_path)

    assert "1 images were judged, 2 could not be read." in printed
    errors = PredictionBatch.objects.get().errors
    assert [error["filename"] for error in errors] == ["broken", "pipe.jpg"]
    assert "can no longer be read" in errors[0]["error"]
    assert "is not a file" in errors[1]["error"]


def test_an_interrupted_scan_is_a_failed_batch_whose_images_are_judged_later(
    folder, monkeypatch, no_judging, stored_files
):
    def interrupted(**options):
        signal.raise_signal(signal.SIGINT)
        return True

    monkeypatch.setattr(batches, "wake_workers", interrupted)

    assert failed_scan(folder)[:2] == ("Interrupted.", 130)

    batch = PredictionBatch.objects.get()
    assert (batch.sending, batch.finished_at, batch.total_images) == ("broken", None, 32)
    assert len(stored_files()) == QueuedImage.objects.count() == 32
    judge_batch(batch_id=batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.successful) == ("failed", 32)


def test_a_second_signal_ends_the_sending_in_one_sentence(folder, monkeypatch, no_judging):
    def interrupted_twice(**options):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(batches, "wake_workers", interrupted_twice)

    sentence = failed_scan(folder).sentence

    batch = PredictionBatch.objects.get()
    assert sentence == (
        f"The sending was interrupted. The 32 images that were sent are judged as batch {batch.pk}."
    )


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_the_error_says_so_and_nothing_is_queued(folder):
    assert "The file storage cannot be reached" in failed_scan(folder).sentence
    assert not QueuedImage.objects.exists()
    assert PredictionBatch.objects.get().status == "failed"


@pytest.mark.parametrize("options", [{"output": "report.csv"}, {"store": False}])
def test_options_that_exclude_a_queue_are_named(folder, options):
    assert "leave that option out" in failed_scan(folder, **options).sentence
    assert not PredictionBatch.objects.exists()


def test_a_missing_folder_is_reported_in_a_sentence(tmp_path):
    assert "cannot be opened" in failed_scan(tmp_path / "nowhere").sentence
    assert not PredictionBatch.objects.exists()


def test_a_bucket_needs_a_queue_and_a_store(folder, settings):
    assert "add --queue" in failure_of("scan_folder", "s3://bucket/photos/").sentence
    if not ON_SERVERS:
        assert "MINIO_ENDPOINT" in failed_scan("s3://bucket/photos/").sentence


@pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3")
def test_the_images_below_a_prefix_of_a_bucket_are_judged_and_stay_there(stored_files):
    bucket = default_storage.bucket_name
    for number in range(3):
        data = ContentFile(image_bytes(seed=number))
        default_storage.save(f"incoming/{number}/photo.jpg", data)
    default_storage.save("incoming/words.txt", ContentFile(b"no image"))
    default_storage.save("incoming/words.jpg", ContentFile(b"no image"))
    default_storage.save("incoming/.hidden/photo.jpg", ContentFile(image_bytes()))
    default_storage.save("elsewhere/photo.jpg", ContentFile(image_bytes()))
    before = stored_files()

    scan(f"s3://{bucket}/incoming/")

    batch = PredictionBatch.objects.get()
    assert (batch.status, batch.successful, batch.failed) == ("done", 3, 1)
    assert [error["filename"] for error in batch.errors] == ["words.jpg"]
    assert {each.original_filename for each in Prediction.objects.all()} == {"photo.jpg"}
    own = [key for each in Prediction.objects.all() for key in each.file_keys]
    assert stored_files() == sorted([*before, *own])


@pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3")
def test_a_missing_bucket_is_reported_in_a_sentence():
    assert "cannot be listed: NoSuchBucket" in failed_scan("s3://no-such-bucket/").sentence
    assert not PredictionBatch.objects.exists()


@pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3")
def test_a_scan_of_the_services_bucket_skips_the_files_of_the_service(stored_files):
    bucket = default_storage.bucket_name
    default_storage.save("photo.jpg", ContentFile(image_bytes(seed=1)))
    default_storage.save("zoo/photo.jpg", ContentFile(image_bytes(seed=2)))
    default_storage.save("originals/2026/01/photo.jpg", ContentFile(image_bytes(seed=3)))

    scan(f"s3://{bucket}/")

    assert PredictionBatch.objects.get().successful == 2
    assert "own files" in failed_scan(f"s3://{bucket}/originals/").sentence


def test_a_scan_whose_batch_was_closed_meanwhile_says_so(folder, monkeypatch, no_judging):
    def closed(*, batch, places):
        PredictionBatch.objects.update(sending="broken")

    monkeypatch.setattr(batches, "wake_workers", closed)

    sentence = failed_scan(folder).sentence

    assert "accepts no more images" in sentence
    assert f"as batch {PredictionBatch.objects.get().pk}" in sentence
