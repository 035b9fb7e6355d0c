from __future__ import annotations

import io
from threading import Barrier

import pytest
from django.core.files.storage import default_storage
from PIL import Image

from detection.errors import DatabaseUnavailableError, StorageUnavailableError
from detection.judging import heatmaps
from detection.judging.heatmaps import open_heatmap
from detection.judging.predict import predict_image
from detection.judging.scoring import is_caller_gone
from detection.models import Prediction
from detection.records.deleting import delete_with_files
from tests.support.factories import an_upload, image_bytes
from tests.support.threads import at_once
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def stored(**upload) -> Prediction:
    return predict_image(upload=an_upload(**upload), source="api")


def opened(prediction: Prediction) -> bytes:
    with open_heatmap(prediction=prediction) as file:
        return file.read()


def test_it_is_a_jpeg_at_the_size_of_the_picture():
    prediction = stored(data=image_bytes(size=(300, 77)))

    picture = Image.open(io.BytesIO(opened(prediction)))

    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (300, 77))


def test_it_is_drawn_once_and_stored_beside_the_record(stored_files, monkeypatch):
    prediction = stored()
    first = opened(prediction)
    monkeypatch.setattr(heatmaps, "draw_heatmap", None)  # a second drawing would fail

    again = opened(Prediction.objects.get())

    assert again == first
    assert Prediction.objects.get().heatmap_image.name in stored_files()


@pytest.mark.parametrize("hangs_up", [False, True])
def test_it_is_not_drawn_for_a_client_that_hung_up_after_the_verdict(hangs_up):
    answers = iter([False, hangs_up])  # before the image is judged, and after that
    token = is_caller_gone.set(lambda: next(answers))
    try:
        prediction = predict_image(upload=an_upload(), source="api", explain=True)
    finally:
        is_caller_gone.reset(token)

    assert bool(prediction.heatmap_image) is not hangs_up


def test_deleting_a_record_read_before_the_drawing_deletes_the_heatmap_too(stored_files):
    prediction = stored()
    seen = Prediction.objects.get()
    opened(prediction)

    delete_with_files([seen])

    assert stored_files() == []


def test_a_lost_heatmap_is_drawn_again(stored_files):
    prediction = stored()
    first = opened(prediction)
    default_storage.delete(prediction.heatmap_image.name)

    assert opened(Prediction.objects.get()) == first
    assert Prediction.objects.get().heatmap_image.name in stored_files()


def test_a_record_that_is_deleted_meanwhile_leaves_no_file(stored_files):
    prediction = stored()
    delete_with_files([Prediction.objects.get()])

    with pytest.raises(Prediction.DoesNotExist):
        open_heatmap(prediction=prediction, data=image_bytes())

    assert eventually(lambda: stored_files() == [])


@pytest.mark.django_db(transaction=True)
def test_of_two_heatmaps_drawn_at_once_one_is_stored(stored_files, monkeypatch):
    prediction = stored()
    read, both = heatmaps.read_original, Barrier(2)

    def read_together(record: Prediction) -> bytes:
        both.wait(20)  # neither has found a heatmap
        return read(record)

    monkeypatch.setattr(heatmaps, "read_original", read_together)

    at_once(lambda pk: opened(Prediction.objects.get(pk=pk)), [prediction.pk] * 2)

    heatmap = Prediction.objects.get().heatmap_image.name
    assert [name for name in stored_files() if name.startswith("heatmaps/")] == [heatmap]


def test_a_lost_storage_is_reported(lost_storage):
    with pytest.raises(StorageUnavailableError):
        heatmaps._store(unstored(), io.BytesIO(b"a picture"))


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_leaves_no_file(lost_database, stored_files):
    prediction = unstored()

    with pytest.raises(DatabaseUnavailableError):
        open_heatmap(prediction=prediction, data=image_bytes())

    assert eventually(lambda: stored_files() == [])


def unstored() -> Prediction:
    return predict_image(upload=an_upload(), source="scan", store=False)
