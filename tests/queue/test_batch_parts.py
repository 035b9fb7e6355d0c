"""Batches that are sent in parts: their images, and their end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from detection.errors import DatabaseUnavailableError
from detection.models import Prediction, PredictionBatch, QueuedImage, now
from detection.queue import arrivals, closing, local_worker
from detection.queue.arrivals import BatchClosedError, TooManyQueuedError
from detection.queue.batches import append_to_batch
from detection.queue.closing import close_when_done
from detection.queue.leases import Lease
from detection.records.batches import open_batch
from tests.support.failures import database_down, raising
from tests.support.queued import a_batch, judged, uploads

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("tiny_checkpoint", "no_judging"),
]


def test_a_batch_is_closed_once():
    batch = a_batch(1)
    QueuedImage.objects.all().delete()

    assert [close_when_done(batch_id=batch.pk) for _ in range(3)] == [True, False, False]


def test_a_part_that_arrives_during_the_closing_reopens_the_batch(monkeypatch):
    batch = a_batch(1, more=True)
    late = QueuedImage(batch=batch, batch_index=1, filename="1.jpg")
    judged(batch)

    def announced(batch):
        late.save(force_insert=True)  # between the search for queued images and the closing
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(closing, "webhook_fields", announced)
        closing.complete_sending(batch=batch)

    batch.refresh_from_db()
    assert (batch.status, batch.finished_at) == ("running", None)
    late.delete()
    assert close_when_done(batch_id=batch.pk)


def test_parts_form_one_batch_which_the_last_part_completes():
    batch = a_batch(2, more=True)
    assert judged(batch).status == "running"

    append_to_batch(batch=batch, uploads=uploads(3), more=True)
    assert judged(batch).finished_at is None
    append_to_batch(batch=batch, uploads=[])

    batch = PredictionBatch.objects.get()
    assert (batch.status, batch.total_images, batch.successful) == ("done", 5, 5)
    places = batch.predictions.order_by("batch_index").values_list("batch_index", flat=True)
    assert list(places) == [0, 1, 2, 3, 4]


def test_a_part_for_a_complete_batch_stores_nothing(stored_files):
    batch = a_batch(1, more=True)
    late = PredictionBatch.objects.get()
    append_to_batch(batch=batch, uploads=[])
    files = stored_files()

    with pytest.raises(BatchClosedError, match="no more images"):
        append_to_batch(batch=late, uploads=uploads(2))

    assert QueuedImage.objects.count() == 1
    assert stored_files() == files


@pytest.mark.parametrize("name", ["bulk_create", "complete_sending"])
def test_a_part_that_failed_can_be_sent_again(name, monkeypatch, settings, stored_files):
    settings.MAX_ASYNC_IMAGES = 3
    batch = a_batch(1, more=True)
    before = stored_files()

    with monkeypatch.context() as patched:
        place = arrivals if name == "complete_sending" else QueuedImage.objects
        patched.setattr(place, name, database_down)
        with pytest.raises(DatabaseUnavailableError):
            append_to_batch(batch=batch, uploads=uploads(2))

    assert PredictionBatch.objects.get().total_images == 1
    assert stored_files() == before
    assert append_to_batch(batch=batch, uploads=uploads(2)) == 2


def test_the_last_part_is_stored_when_the_closing_fails(monkeypatch):
    batch = a_batch(1, more=True)

    with monkeypatch.context() as patched:
        patched.setattr(closing, "close_when_done", database_down)
        append_to_batch(batch=batch, uploads=uploads(2))

    assert (judged(batch).successful, judged(batch).status) == (3, "done")


def test_a_scan_accepts_no_parts():
    scan = open_batch(total_images=0, source="scan", status="queued", sending="open")

    with pytest.raises(BatchClosedError, match="no more images"):
        append_to_batch(batch=scan, uploads=uploads(1))


def test_images_stay_queued_when_no_worker_can_be_woken(monkeypatch, stored_files):
    monkeypatch.setattr(local_worker, "start", raising(RuntimeError("can't start new thread")))

    assert judged(a_batch(2)).successful == 2


def test_too_many_images_store_nothing(stored_files, settings):
    settings.MAX_ASYNC_IMAGES = 2

    with pytest.raises(TooManyQueuedError, match="3 images; at most 2"):
        a_batch(3)

    assert not PredictionBatch.objects.exists()
    assert not QueuedImage.objects.exists()
    assert stored_files() == []


def test_a_batch_left_open_for_a_day_is_closed_as_failed():
    batch = judged(a_batch(1, more=True))
    closing.close_left_open(batch=batch)
    assert PredictionBatch.objects.get().sending == "open"

    Prediction.objects.update(created_at=now() - timedelta(days=2))
    closing.close_left_open(batch=batch)

    batch = PredictionBatch.objects.get()
    assert (batch.status, batch.successful) == ("failed", 1)


def test_the_process_judges_queued_batches_in_order():
    sent = [a_batch(2), a_batch(1)]

    assert local_worker.judge_batches()

    first, second = (PredictionBatch.objects.get(pk=batch.pk) for batch in sent)
    assert first.finished_at < second.finished_at
    assert (first.successful, second.successful) == (2, 1)


def test_the_process_looks_again_while_a_batch_is_open():
    batch = a_batch(1, more=True)
    assert local_worker._work_on_images() == local_worker.MAX_PAUSE_SECONDS

    append_to_batch(batch=batch, uploads=[])
    assert local_worker._work_on_images() is local_worker.DONE


def test_the_process_looks_again_for_images_that_others_have_leased():
    batch = a_batch(2)
    with Lease.take(batch=batch, first=0, last=0):
        assert not local_worker.judge_batches()
    assert local_worker.judge_batches()
