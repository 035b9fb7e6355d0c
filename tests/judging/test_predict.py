from __future__ import annotations

import hashlib
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError
from PIL import Image

from detection.d3.errors import ImageError
from detection.errors import DatabaseUnavailableError, StorageUnavailableError
from detection.judging.active_detector import get_detector
from detection.judging.drawing import draw_result
from detection.judging.pipeline import Job, Run
from detection.judging.predict import Upload, predict_image, predict_images
from detection.models import Prediction, PredictionBatch, Source
from detection.records.batches import close_batch, open_batch
from detection.records.writing import write_predictions
from detection.statistics.usage import count_predictions
from tests.support.api import images_judged
from tests.support.archive_files import PHOTO, changed, images, zip_of
from tests.support.factories import an_upload, image_bytes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def uploads(count: int) -> list[Upload]:
    return [an_upload(filename=f"{number}.jpg", seed=number) for number in range(count)]


def test_a_prediction_describes_its_image_and_its_model():
    data = image_bytes(size=(64, 48), image_format="PNG")

    prediction = predict_image(
        upload=Upload(filename="dir/photo.jpg", data=data), source=Source.API
    )

    stored = Prediction.objects.get()
    assert stored.pk == prediction.pk
    assert stored.original_filename == "photo.jpg"
    assert (stored.width, stored.height, stored.image_format) == (64, 48, "PNG")
    assert (stored.size_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert stored.is_fake == (stored.fake_score > stored.threshold)
    assert stored.model_version
    assert stored.created_at == prediction.created_at
    assert stored.created_at.microsecond % 1000 == 0


def test_the_original_and_the_result_are_stored():
    data = image_bytes(image_format="PNG")

    prediction = predict_image(upload=an_upload(filename="photo.jpg", data=data), source="api")

    assert prediction.original_image.read() == data
    assert prediction.original_image.name.endswith("_photo.png")
    assert prediction.result_filename.endswith("_photo.jpg")
    assert Image.open(prediction.result_image).format == "JPEG"


def test_an_image_can_be_read_from_a_path(tmp_path):
    path = tmp_path / "été.jpg"
    path.write_bytes(image_bytes())

    prediction = predict_image(upload=Upload(filename=path.name, data=path), source="scan")

    assert prediction.original_filename == "été.jpg"
    assert prediction.original_image.read() == image_bytes()


@pytest.mark.usefixtures("lost_database")
def test_without_database_the_files_are_deleted_again(stored_files):
    with pytest.raises(DatabaseUnavailableError):
        predict_image(upload=an_upload(), source="api")

    assert stored_files() == []


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_there_is_no_record():
    with pytest.raises(StorageUnavailableError):
        predict_image(upload=an_upload(), source="api")

    assert not Prediction.objects.exists()


def test_when_the_second_file_fails_the_first_is_deleted(stored_files, storage_folder):
    storage_folder.mkdir()
    (storage_folder / "originals").write_text("not a folder")

    with pytest.raises(StorageUnavailableError):
        predict_image(upload=an_upload(), source="api")

    assert eventually(lambda: stored_files() == ["originals"])
    assert not Prediction.objects.exists()


def test_one_bad_image_does_not_affect_the_others():
    items = uploads(5)
    items[2] = an_upload(filename="notes.jpg", data=b"these are not pixels, just some text")

    outcomes = list(predict_images(uploads=items, source="batch", batch_size=2))

    assert [outcome.upload for outcome in outcomes] == items
    assert [index for index, outcome in enumerate(outcomes) if outcome.error] == [2]
    assert isinstance(outcomes[2].error, ImageError)
    assert Prediction.objects.count() == 4


def test_the_same_bytes_in_another_group_of_a_run_are_judged_once():
    before = images_judged()
    items = [an_upload(filename=f"{number}.jpg") for number in range(3)]

    outcomes = list(predict_images(uploads=items, source="scan", batch_size=1))

    first = outcomes[0].prediction
    assert images_judged() - before == 1
    assert [each.prediction.duplicate_of for each in outcomes] == ["", first.pk, first.pk]


def test_only_what_is_needed_of_a_large_picture_stays_in_memory():
    run = Run(detector=get_detector(), source="scan", keeper=None)

    job = run.decode(Job(0, Upload("large.png", image_bytes(size=(3000, 2000)))))

    assert (job.image.width, job.image.height) == (3000, 2000)
    assert max(job.image.pixels.size) <= 2048
    assert job.views.numel() < 9 * 3 * 64 * 64 + 1


def test_uploads_are_read_lazily():
    taken = []

    def endless():
        for number, upload in enumerate(uploads(4) * 100):
            taken.append(number)
            yield upload

    with closing(predict_images(uploads=endless(), source="scan", batch_size=2)) as outcomes:
        next(outcomes)
        assert len(taken) <= 7


def test_stopping_early_leaves_no_file_without_record(stored_files):
    with closing(predict_images(uploads=uploads(12), source="scan", batch_size=4)) as outcomes:
        next(outcomes)

    prediction = Prediction.objects.get()
    assert stored_files() == sorted(prediction.file_keys)


def test_stopping_early_counts_only_the_uploads_that_were_read():
    batch = open_batch(total_images=4, source=Source.SCAN)
    items = [*uploads(2), an_upload(filename="empty.jpg", data=b""), an_upload(seed=9)]

    with closing(predict_images(uploads=items, source=Source.SCAN, batch=batch)) as outcomes:
        next(outcomes)
    close_batch(batch=batch)

    stored = PredictionBatch.objects.get()
    assert (stored.successful, stored.failed, stored.errors) == (1, 0, [])
    assert count_predictions(user=None)["total_predictions"] == 1


@pytest.mark.django_db(transaction=True)  # another thread checks what was undone
def test_images_that_were_judged_together_are_recorded_together(stored_files, monkeypatch):
    """A failed write of a group loses the whole group, and no earlier group."""
    written = []

    def second_fails(predictions: list[Prediction], *hashes) -> None:
        written.append(len(predictions))
        write_predictions(predictions, *hashes)
        if len(written) == 2:
            raise OperationalError("no more space")

    monkeypatch.setattr("detection.judging.keepers.write_predictions", second_fails)
    batch = open_batch(total_images=6, source=Source.SCAN)
    outcomes = predict_images(uploads=uploads(6), source=Source.SCAN, batch=batch, batch_size=2)
    taken = []
    with pytest.raises(DatabaseUnavailableError):
        taken.extend(outcomes)

    assert written == [2, 2]
    assert eventually(lambda: Prediction.objects.count() == 2)
    recorded = list(Prediction.objects.order_by("batch_index"))
    assert recorded == [outcome.prediction for outcome in taken]
    assert eventually(
        lambda: stored_files() == sorted(key for each in recorded for key in each.file_keys)
    )
    assert (batch.successful, batch.failed) == (2, 0)


def test_an_interrupt_leaves_no_file_without_record(stored_files):
    def interrupted():
        yield from uploads(6)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(predict_images(uploads=interrupted(), source="scan", batch_size=2))

    recorded = [key for prediction in Prediction.objects.all() for key in prediction.file_keys]
    assert stored_files() == sorted(recorded)


def test_the_counts_of_a_batch_are_current_while_it_runs():
    batch = open_batch(total_images=3, source=Source.SCAN)
    items = [*uploads(2), an_upload(filename="empty.jpg", data=b"")]
    progress = []

    for _ in predict_images(uploads=items, source=Source.SCAN, batch=batch, batch_size=1):
        stored = PredictionBatch.objects.get()
        progress.append((stored.status, stored.successful, stored.failed))

    assert progress == [("running", 1, 0), ("running", 2, 0), ("running", 2, 1)]
    [error] = PredictionBatch.objects.get().errors
    assert (error["index"], error["filename"], error["code"]) == (2, "empty.jpg", "empty_image")


def test_a_closed_batch_has_the_time_of_its_end():
    batch = open_batch(total_images=2, source=Source.SCAN)
    list(predict_images(uploads=uploads(2), source=Source.SCAN, batch=batch))

    close_batch(batch=batch)

    stored = PredictionBatch.objects.get()
    assert (stored.status, stored.successful, stored.failed) == ("done", 2, 0)
    assert stored.finished_at >= stored.created_at
    assert stored.predictions.count() == 2


def test_keys_hold_the_record_id_and_only_safe_characters():
    prediction = predict_image(upload=an_upload(filename="<b>写真</b>.jpg"), source="api")

    for key in prediction.file_keys:
        assert prediction.pk in key
        assert default_storage.exists(key)
        assert Path(key).name.isascii()


def test_a_file_that_vanishes_after_decoding_is_an_error_of_its_image(
    tmp_path, monkeypatch, stored_files
):
    path = tmp_path / "short-lived.jpg"
    path.write_bytes(image_bytes())

    def draw_and_delete(*args, **kwargs) -> bytes:
        path.unlink()
        return draw_result(*args, **kwargs)

    monkeypatch.setattr("detection.judging.pipeline.draw_result", draw_and_delete)
    with pytest.raises(ImageError, match=r"short-lived\.jpg' can no longer be read"):
        predict_image(upload=Upload(filename=path.name, data=path), source=Source.SCAN)
    assert not stored_files()
    assert not Prediction.objects.exists()


def test_a_batch_lists_a_bounded_number_of_errors_and_counts_all(monkeypatch):
    monkeypatch.setattr("detection.models.batches.MAX_BATCH_ERRORS", 2)
    batch = open_batch(total_images=3, source=Source.API)
    uploads = [an_upload(filename=f"{i}.jpg", data=b"text") for i in range(3)]
    outcomes = list(predict_images(uploads=uploads, source=Source.API, batch=batch))
    batch.refresh_from_db()
    assert all(outcome.error for outcome in outcomes)
    assert (batch.failed, [error["index"] for error in batch.errors]) == (3, [0, 1])


def test_bad_files_of_an_archive_are_errors_of_the_batch():
    files = {"a.jpg": PHOTO, "bad.jpg": b"x" * 5000, "c.jpg": PHOTO}
    stored = zip_of(files, method=zipfile.ZIP_STORED)
    uploads = images(changed(stored, b"x" * 5000, b"y" * 5000))  # differs from its checksum
    batch = open_batch(total_images=len(uploads), source="batch")
    list(predict_images(uploads=uploads, source="batch", batch=batch))
    close_batch(batch=batch)

    batch.refresh_from_db()
    assert (batch.successful, batch.failed) == (2, 1)
    assert batch.errors == [
        {
            "index": 1,
            "filename": "bad.jpg",
            "error": "This file is damaged in the archive.",
            "code": "undecodable_image",
        }
    ]
