"""Queued images: leased, judged once, and refused after too many tries."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count

import pytest
from django.contrib.auth import get_user_model
from django.core.files.storage import default_storage
from django.db import IntegrityError, connection

from detection.d3.errors import CheckpointError, D3Error
from detection.errors import DatabaseUnavailableError
from detection.judging.predict import Upload
from detection.models import Prediction, PredictionBatch, QueuedImage, new_id, now
from detection.queue import judging, leases, local_worker
from detection.queue.batches import queue_batch
from detection.queue.closing import refresh_counts
from detection.queue.judging import judge_batch, predict_queued
from detection.queue.leases import Lease
from detection.upkeep import purging
from detection.upkeep.purging import purge_predictions
from tests.support.factories import an_upload, image_bytes
from tests.support.failures import database_down, raising
from tests.support.queued import a_batch, judged, uploads
from tests.support.threads import at_once

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("tiny_checkpoint", "no_judging"),
]


def killed(batch: PredictionBatch) -> list[QueuedImage]:
    """Lease images like a process that was killed a while ago."""
    images = Lease.take(batch=batch, first=None, last=None).images
    QueuedImage.objects.filter(batch=batch).update(leased_until=now() - timedelta(seconds=1))
    return images


def test_a_queued_image_has_its_original_and_no_other_file(stored_files):
    batch = a_batch(2)

    images = QueuedImage.objects.order_by("batch_index")
    assert [image.filename for image in images] == ["0.jpg", "1.jpg"]
    assert sorted(image.original_image.name for image in images) == stored_files()
    assert (batch.status, batch.total_images) == ("queued", 2)
    assert not Prediction.objects.exists()


def test_a_judged_image_keeps_the_id_and_the_file_that_it_had(stored_files):
    batch = a_batch(2)
    waiting = dict(QueuedImage.objects.values_list("pk", "original_image"))

    batch = judged(batch)

    assert dict(Prediction.objects.values_list("pk", "original_image")) == waiting
    assert not QueuedImage.objects.exists()
    results = list(Prediction.objects.values_list("result_image", flat=True))
    assert stored_files() == sorted([*waiting.values(), *results])
    assert (batch.status, batch.successful, batch.failed) == ("done", 2, 0)
    assert batch.finished_at


def test_a_file_that_is_no_image_is_refused_without_being_stored(stored_files):
    batch = a_batch(1, bad=True)

    refresh_counts(batch)

    assert len(stored_files()) == 1
    assert batch.failed == 1
    assert [error["code"] for error in batch.errors] == ["unsupported_image_type"]


def test_an_image_that_cannot_be_decoded_leaves_no_file_and_is_listed(stored_files):
    broken = Upload("broken.jpg", image_bytes()[:-500])
    batch = judged(queue_batch(uploads=[*uploads(1), broken], source="batch"))

    assert (batch.successful, batch.failed) == (1, 1)
    [error] = batch.errors
    assert (error["index"], error["filename"]) == (1, "broken.jpg")
    assert error["code"] == "truncated_image"
    assert len(stored_files()) == 2
    assert not QueuedImage.objects.exists()


def test_a_file_that_is_lost_in_the_queue_is_one_refusal():
    batch = a_batch(2)
    default_storage.delete(QueuedImage.objects.get(batch_index=0).original_image.name)

    batch = judged(batch)

    assert (batch.successful, [error["code"] for error in batch.errors]) == (1, ["original_lost"])


def test_leased_images_cannot_be_leased_again():
    batch = a_batch(3)

    with Lease.take(batch=batch, first=0, last=1) as mine:
        assert [image.batch_index for image in mine.images] == [0, 1]
        judge_batch(batch_id=batch.pk)
        assert QueuedImage.objects.count() == 2


def test_each_image_goes_to_one_of_several_simultaneous_leases():
    leases = at_once(lambda batch: Lease.take(batch=batch, first=0, last=7), [a_batch(8)] * 4)

    taken = [image.pk for lease in leases for image in lease.images]
    assert len(taken) == len(set(taken)) == 8


def test_a_lease_is_renewed_while_its_block_runs(settings):
    settings.QUEUE_LEASE_SECONDS = 0.15
    batch, renewed = a_batch(1), []

    with Lease.take(batch=batch, first=None, last=None) as lease:
        until = QueuedImage.objects.get().leased_until
        while QueuedImage.objects.get().leased_until == until:
            pass
        renewed.append(lease)

    assert renewed


def test_images_leased_by_a_killed_process_are_judged_by_the_next():
    batch = a_batch(3)
    killed(batch)

    assert judged(batch).successful == 3


def test_an_image_recorded_right_before_a_kill_is_not_judged_again(stored_files):
    batch = a_batch(2)
    images = killed(batch)
    judged(batch)
    files = stored_files()
    PredictionBatch.objects.update(status="running", finished_at=None)
    for image in images:  # as if the process had died before it could delete them
        image.leased_until = now()
        image.save(force_insert=True)

    batch = judged(batch)

    assert Prediction.objects.count() == batch.successful == 2
    assert stored_files() == files
    assert not QueuedImage.objects.exists()


def test_one_of_two_workers_that_judge_the_same_image_writes_the_record(stored_files):
    batch = a_batch(2)
    [first, _] = killed(batch)
    QueuedImage.objects.filter(pk=first.pk).update(tries=0)  # it does not know of the other one
    judged(batch)
    QueuedImage(
        id=first.pk,
        batch=batch,
        batch_index=0,
        filename="0.jpg",
        original_image=first.original_image,
    ).save(force_insert=True)
    files = stored_files()

    judge_batch(batch_id=batch.pk)

    assert Prediction.objects.filter(batch=batch).count() == 2
    assert not QueuedImage.objects.exists()
    assert stored_files() == files


def test_an_image_that_crashes_the_process_repeatedly_is_refused_alone():
    batch = a_batch(3)
    for _ in range(leases.SUSPICIOUS_TRIES):
        assert len(killed(batch)) == 3
    assert [image.batch_index for image in killed(batch)] == [0]
    QueuedImage.objects.filter(batch_index=0).update(tries=leases.MAX_TRIES)

    batch = judged(batch)

    assert batch.successful == 2
    assert [(error["index"], error["code"]) for error in batch.errors] == [(0, "judging_failed")]


def test_an_image_that_the_network_cannot_judge_is_refused_alone(monkeypatch):
    bad, other = a_batch(2), a_batch(1)
    poor = QueuedImage.objects.get(batch=bad, batch_index=1).pk

    def judge(*, batch, images):
        if any(image.pk == poor for image in images):
            raise D3Error("The network gave no finite number.")
        return predict_queued(batch=batch, images=images)

    monkeypatch.setattr(judging, "predict_queued", judge)
    looks = [local_worker.judge_batches() for _ in range(leases.MAX_TRIES + 1)]

    bad, other = (PredictionBatch.objects.get(pk=each.pk) for each in (bad, other))
    assert looks == [False] * leases.MAX_TRIES + [True]
    assert [(error["index"], error["code"]) for error in bad.errors] == [(1, "judging_failed")]
    assert (bad.successful, other.successful) == (1, 1)
    assert other.finished_at < bad.finished_at


def test_a_detector_that_cannot_be_loaded_costs_no_image_a_try(monkeypatch):
    batch = a_batch(1)

    with monkeypatch.context() as patched:
        patched.setattr(judging, "get_detector", raising(CheckpointError("There is no file.")))
        with pytest.raises(CheckpointError):
            judge_batch(batch_id=batch.pk)

    assert QueuedImage.objects.get().tries == 0


def test_an_outage_that_outlasts_the_lease_costs_no_image_a_try(monkeypatch):
    batch = a_batch(2)

    for _ in range(leases.MAX_TRIES + 1):
        with monkeypatch.context() as patched:
            patched.setattr(judging, "predict_queued", database_down)
            patched.setattr(Lease, "release", database_down)
            with pytest.raises(DatabaseUnavailableError):
                judge_batch(batch_id=batch.pk)
        QueuedImage.objects.update(leased_until=now() - timedelta(seconds=1))  # it runs out

    assert (judged(batch).successful, judged(batch).failed) == (2, 0)


def test_an_outage_costs_no_image_of_another_worker_a_try(monkeypatch):
    batch = a_batch(1)

    with monkeypatch.context() as patched:
        patched.setattr(Lease, "release", database_down)
        with Lease.take(batch=batch, first=None, last=None):
            pass
    QueuedImage.objects.update(leased_by=new_id())

    assert not Lease.take(batch=batch, first=None, last=None).images
    assert QueuedImage.objects.get().tries == 0


def test_images_outlive_their_owner(monkeypatch, stored_files):
    owner = get_user_model().objects.create(username="leaving")
    batch = queue_batch(uploads=uploads(2), source="batch", owner=owner)

    def judge(*, batch, images):
        assert batch.owner == owner
        get_user_model().objects.all().delete()
        return predict_queued(batch=batch, images=images)

    with monkeypatch.context() as patched:
        patched.setattr(judging, "predict_queued", judge)
        with suppress(IntegrityError):  # MongoDB has no foreign keys
            judge_batch(batch_id=batch.pk)

    assert judged(batch).successful == 2
    assert len(stored_files()) == 4


def test_a_refused_image_is_deleted_outside_of_a_transaction(monkeypatch):
    batch, seen = a_batch(2), []
    default_storage.delete(QueuedImage.objects.get(batch_index=0).original_image.name)
    monkeypatch.setattr(
        judging, "delete_files", lambda keys: seen.append(connection.in_atomic_block)
    )

    judged(batch)

    assert seen == [False]


def test_an_outage_costs_no_image_a_try(monkeypatch):
    batch = a_batch(2)

    with monkeypatch.context() as patched:
        patched.setattr(judging, "predict_queued", database_down)
        with pytest.raises(DatabaseUnavailableError):
            judge_batch(batch_id=batch.pk)

    assert set(QueuedImage.objects.values_list("tries", flat=True)) == {0}
    assert judged(batch).successful == 2


def test_purging_deletes_images_that_no_worker_ever_leased(stored_files):
    batch = a_batch(2)
    list(purge_predictions(before=now() - timedelta(days=1)))
    assert QueuedImage.objects.count() == 2

    list(purge_predictions(before=now() + timedelta(days=1)))

    assert not QueuedImage.objects.exists()
    assert stored_files() == []
    assert judged(batch).successful == 0


def test_purging_leaves_leased_images_and_files_of_predictions(stored_files):
    batch = a_batch(2)
    images = list(QueuedImage.objects.order_by("batch_index"))
    judged(batch)
    later = Prediction.objects.all()
    later.update(created_at=now() + timedelta(days=2))
    images[0].save(force_insert=True)  # as if the process had died before it could delete it
    images[1].leased_until = now() + timedelta(days=1)
    images[1].save(force_insert=True)
    files = stored_files()

    list(purge_predictions(before=now() + timedelta(days=1)))

    assert QueuedImage.objects.get() == images[1]
    assert stored_files() == files


def test_purging_leaves_an_image_that_a_worker_leases_meanwhile(monkeypatch, stored_files):
    batch, files, clock = a_batch(1), stored_files(), count()

    def now_and_a_lease() -> datetime:
        """Lease the image at the second call, before old images are deleted."""
        if next(clock) == 1:
            Lease.take(batch=batch, first=None, last=None)
        return now()

    monkeypatch.setattr(purging, "now", now_and_a_lease)

    list(purge_predictions(before=now() + timedelta(days=1)))

    assert QueuedImage.objects.get().leased_until > now()
    assert stored_files() == files


def test_a_queued_prediction_has_the_date_of_its_judging():
    start = now()
    batch = a_batch(1)
    image = QueuedImage.objects.get()
    old = new_id(start - timedelta(days=40))
    QueuedImage.objects.all().delete()
    image.pk = old
    image.save(force_insert=True)

    judged(batch)

    prediction = Prediction.objects.get()
    assert prediction.pk == old
    assert prediction.created_at >= start


def test_an_upload_that_vanished_is_refused(tmp_path):
    batch = queue_batch(uploads=[an_upload(), Upload("x.jpg", tmp_path / "x.jpg")], source="scan")

    assert (judged(batch).successful, judged(batch).failed) == (1, 1)
