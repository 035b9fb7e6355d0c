"""The quota of an owner in the queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detection.judging import Upload
from detection.models import PredictionBatch, QueuedImage
from detection.queue.arrivals import store_images
from detection.queue.batches import append_to_batch, queue_batch, send_scan
from detection.queue.judging import judge_batch
from detection.queue.quota import QueueQuotaError
from tests.support.api import a_client, a_file, a_token, a_user, assert_refused, files, sent
from tests.support.queued import a_batch, uploads
from tests.support.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint", "no_judging")]


@pytest.fixture(autouse=True)
def four_images(settings) -> None:
    settings.MAX_QUEUED_IMAGES = 4


def queued() -> int:
    return QueuedImage.objects.count()


def test_more_than_the_quota_is_refused_before_anything_is_stored(stored_files):
    a_batch(3)
    before = stored_files()

    with pytest.raises(QueueQuotaError, match="You may have 4 images in the queue"):
        a_batch(2)

    assert stored_files() == before
    assert (queued(), PredictionBatch.objects.count()) == (3, 1)
    a_batch(1)


def test_an_archive_is_read_no_further_than_the_quota(stored_files):
    read = []

    def archive() -> Iterator[Upload]:
        for upload in uploads(10):
            read.append(upload)
            yield upload

    with pytest.raises(QueueQuotaError):
        queue_batch(uploads=archive(), source="batch")

    assert len(read) == 5
    assert stored_files() == []
    assert queued() == 0


def test_bytes_are_counted_as_stored(settings):
    sizes = [len(upload.data) for upload in uploads(3)]
    settings.MAX_QUEUED_BYTES = sum(sizes)
    batch = a_batch(2, more=True)
    assert [image.size_bytes for image in batch.queued_images.order_by("batch_index")] == sizes[:2]

    with pytest.raises(QueueQuotaError, match="MiB of images in the queue"):
        append_to_batch(batch=batch, uploads=uploads(2))
    append_to_batch(batch=batch, uploads=uploads(3)[2:])


def test_judged_images_release_their_quota():
    batch = a_batch(4)
    with pytest.raises(QueueQuotaError):
        a_batch(1)

    judge_batch(batch_id=batch.pk)

    a_batch(4)


def test_a_batch_can_be_ended_when_the_quota_is_used_up():
    batch = a_batch(4, more=True)

    append_to_batch(batch=batch, uploads=[])

    assert PredictionBatch.objects.get().sending == PredictionBatch.Sending.COMPLETE


def test_each_owner_has_a_quota_and_scans_have_none():
    ann, bob = a_user("ann"), a_user("bob")
    for owner in (ann, bob, None):
        queue_batch(uploads=uploads(4), source="batch", owner=owner)
        with pytest.raises(QueueQuotaError):
            queue_batch(uploads=uploads(1), source="batch", owner=owner)
    for _ in send_scan(images=store_images(uploads(5)), threshold=None):
        pass

    assert queued() == 3 * 4 + 5


def test_images_queued_by_another_request_meanwhile_are_counted(stored_files):
    def slow() -> Iterator[Upload]:
        yield from uploads(2)
        a_batch(3)  # of another request

    with pytest.raises(QueueQuotaError):
        queue_batch(uploads=slow(), source="batch")

    assert queued() == len(stored_files()) == 3


@pytest.mark.django_db(transaction=True)
def test_batches_at_the_same_moment_share_the_quota():
    def is_queued(count: int) -> bool:
        try:
            a_batch(count)
        except QueueQuotaError:
            return False
        return True

    results = at_once(is_queued, [3] * 4)

    assert sum(results) <= 1
    assert queued() == 3 * sum(results)


def test_the_answer_is_a_429_and_the_images_are_not_counted(closed, rates):
    rates["predict"] = "9/min"
    client = a_client(a_token(a_user()))
    later = {"async": "true", "more": "true"}
    opened = sent(client, *files(3), **later)
    place = f"{opened.headers['Location']}/images/"

    for refused in (sent(client, *files(4), **later), client.post(place, {"images": files(2)})):
        sentence = assert_refused(refused, 429, "queue_quota")
        assert sentence == (
            "You may have 4 images in the queue; send more when some of yours are judged."
        )
    # 3 images and 2 requests are counted, so 4 more are allowed.
    verdicts = [client.post("/api/predict/", {"image": a_file()}) for _ in range(5)]
    assert [verdict.status_code for verdict in verdicts] == [200, 200, 200, 200, 429]
