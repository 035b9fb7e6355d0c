"""Batches that are accepted at once and judged later, in parts and from archives too."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.queue import local_worker
from detection.queue.webhooks import webhook_secret
from tests.support.api import (
    BATCHES,
    a_client,
    a_file,
    a_token,
    a_user,
    assert_nothing_stored,
    assert_refused,
    files,
    sent,
)
from tests.support.archive_files import tar_of, zip_of
from tests.support.factories import image_bytes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def finished(client, url: str) -> dict:
    """Poll the batch until it is finished and its worker has ended; return the batch."""
    assert eventually(
        lambda: client.get(url).json()["finished_at"] and not local_worker.is_judging()
    )
    return client.get(url).json()


@pytest.mark.django_db(transaction=True)
def test_a_queued_batch_is_accepted_and_then_done(client):
    response = sent(client, *files(9), a_file("empty.jpg", b""), **{"async": "true"})

    body = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"http://testserver{BATCHES}{body['batch_id']}"
    assert body["status"] == "queued"
    assert (body["total_images"], body["successful"], body["failed"]) == (10, 0, 0)
    assert (body["results"], body["errors"], body["finished_at"]) == ([], None, None)
    body = finished(client, response.headers["Location"])
    assert (body["status"], body["successful"], body["failed"]) == ("done", 9, 1)
    assert [result["index"] for result in body["results"]] == list(range(9))
    assert [error["index"] for error in body["errors"]] == [9]


@pytest.mark.django_db(transaction=True)
def test_large_uploads_on_disk_outlive_their_request(client, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10

    response = sent(client, *files(2), **{"async": "true", "threshold": "0"})

    body = finished(client, response.headers["Location"])
    assert [result["prediction"]["label"] for result in body["results"]] == ["FAKE", "FAKE"]


def test_a_batch_with_store_false_cannot_be_queued(client, stored_files):
    response = sent(client, *files(1), **{"async": "true", "store": "false"})

    assert "store" in assert_refused(response, 400, "invalid")
    assert_nothing_stored(stored_files)


@pytest.mark.django_db(transaction=True)
def test_a_batch_can_be_sent_in_parts(client):
    opened = sent(client, *files(2), **{"async": "true", "more": "true"})
    place = opened.headers["Location"]
    parts = [
        client.post(f"{place}/images/", {"images": files(3), "more": "true"}),
        client.post(f"{place}/images/", {"images": [a_file("empty.jpg", b"")]}),
    ]

    assert [part.status_code for part in parts] == [202, 202]
    assert [part.headers["Location"] for part in parts] == [place, place]
    assert [part.json()["total_images"] for part in parts] == [5, 6]
    body = finished(client, place)
    assert (body["status"], body["total_images"]) == ("done", 6)
    assert [result["index"] for result in body["results"]] == [0, 1, 2, 3, 4]
    assert [error["index"] for error in body["errors"]] == [5]
    sentence = assert_refused(
        client.post(f"{place}/images/", {"images": files(1)}), 409, "batch_closed"
    )
    assert body["batch_id"] in sentence


@pytest.mark.django_db(transaction=True)
def test_the_last_part_may_be_empty(client):
    place = sent(client, *files(1), **{"async": "true", "more": "true"}).headers["Location"]
    assert_refused(client.post(f"{place}/images/", {"more": "true"}), 400, "missing_image")

    assert client.post(f"{place}/images/").status_code == 202

    assert finished(client, place)["total_images"] == 1


def test_only_a_queued_batch_accepts_parts(client, stored_files):
    assert "more" in assert_refused(sent(client, *files(1), more="true"), 400, "invalid")
    assert_nothing_stored(stored_files)
    place = f"{BATCHES}{sent(client, *files(1)).json()['batch_id']}/images/"

    assert_refused(client.post(place, {"images": files(1)}), 409, "batch_closed")
    unknown = "/api/batches/01M84Q580AZZY3CNE3Y34WJ3B2/images/"
    assert_refused(client.post(unknown, {"images": files(1)}), 404, "not_found")
    assert Prediction.objects.count() == 1


@pytest.mark.usefixtures("no_judging")
def test_only_the_owner_adds_to_a_batch(closed, stored_files):
    ann, bob, boss = a_user("ann"), a_user("bob"), a_user("boss", is_staff=True)
    opened = sent(a_client(a_token(ann)), *files(1), **{"async": "true", "more": "true"})
    place, before = f"{opened.headers['Location']}/images/", stored_files()

    for user, status, code in ((bob, 404, "not_found"), (boss, 403, "permission_denied")):
        refused = a_client(a_token(user)).post(place, {"images": files(1)})
        assert_refused(refused, status, code)
    assert stored_files() == before
    assert a_client(a_token(ann)).post(place, {"images": files(1)}).status_code == 202


@pytest.mark.usefixtures("no_judging")
def test_more_than_ten_thousand_images_are_refused(client, settings, stored_files, monkeypatch):
    monkeypatch.setattr("detection.api.views.batches.MAX_QUEUED", 3)
    settings.MAX_ASYNC_IMAGES = 3
    later = {"async": "true", "more": "true"}
    assert "4" in assert_refused(sent(client, *files(4), **later), 400, "too_many_images")
    assert_nothing_stored(stored_files)
    place = sent(client, *files(2), **later).headers["Location"]

    sentence = assert_refused(
        client.post(f"{place}/images/", {"images": files(2)}), 400, "too_many_images"
    )

    assert "4 images; at most 3" in sentence
    assert len(stored_files()) == 2


def a_zip(*names: str) -> SimpleUploadedFile:
    files = {name: image_bytes(size=(16, 12), seed=seed) for seed, name in enumerate(names)}
    others = {"read.me": b"no image, and not named like one", "notes.jpg": b"no image"}
    return a_file("pictures.zip", zip_of(files | others))


@pytest.mark.django_db(transaction=True)
def test_an_archive_is_a_batch_or_a_part_of_one(client):
    opened = client.post(
        BATCHES, {"archive": a_zip("a.jpg", "b/c.jpg"), "async": "true", "more": "true"}
    )
    place = opened.headers["Location"]
    assert client.post(f"{place}/images/", {"archive": a_zip("d.jpg")}).status_code == 202

    body = finished(client, place)

    assert (body["status"], body["total_images"], body["failed"]) == ("done", 5, 2)
    names = {result["index"]: result["filename"] for result in body["results"]}
    assert names == {0: "a.jpg", 1: "c.jpg", 3: "d.jpg"}
    assert [error["filename"] for error in body["errors"]] == ["notes.jpg", "notes.jpg"]


def test_a_truncated_archive_stores_nothing(client, stored_files):
    whole = tar_of({f"{seed}.jpg": image_bytes(seed=seed) for seed in range(3)})
    broken = a_file("pictures.tar", whole[: 2 * len(image_bytes())])

    response = client.post(BATCHES, {"archive": broken, "async": "true"})

    assert_refused(response, 400, "invalid_archive")
    assert not QueuedImage.objects.exists()
    assert_nothing_stored(stored_files)


def test_an_archive_needs_async_and_excludes_images(client, stored_files):
    both = {"archive": a_zip("a.jpg"), "images": files(1), "async": "true"}

    assert_refused(client.post(BATCHES, both), 400, "too_many_images")
    for others in ({}, {"images": files(1)}, {"store": "false"}):
        response = client.post(BATCHES, {"archive": a_zip("a.jpg")} | others)
        sentence = assert_refused(response, 400, "missing_image")
        assert sentence == (
            "An archive is judged in the queue: send it with the form field async=true."
        )
    assert_nothing_stored(stored_files)


@pytest.mark.django_db(transaction=True)
def test_the_opener_gets_the_secret_and_the_webhook_is_due_when_the_batch_is_done(
    client, own_network, monkeypatch
):
    later = {"async": "true", "webhook_url": "http://127.0.0.1:9/done"}
    monkeypatch.setattr(local_worker._webhooks, "_work", lambda: None)

    opened = sent(client, *files(1), **later)

    [batch] = PredictionBatch.objects.all()
    assert opened.json()["webhook_secret"] == webhook_secret(batch)
    assert "webhook_secret" not in finished(client, opened.headers["Location"])
    assert PredictionBatch.objects.get().webhook_due_at is not None


def test_later_parts_do_not_get_the_secret(client, own_network):
    """With open access, another client may send them."""
    later = {"async": "true", "more": "true", "webhook_url": "http://127.0.0.1:9/done"}
    opened = sent(client, *files(1), **later)

    place = f"{opened.headers['Location']}/images/"
    added = client.post(place, {"more": "true", "images": files(1)})

    assert added.status_code == 202
    assert "webhook_secret" in opened.json()
    assert "webhook_secret" not in added.json()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"webhook_url": "https://10.0.0.1/", "async": "true"}, "invalid_webhook_url"),
        ({"webhook_url": "https://example.org/"}, "invalid"),
    ],
)
def test_a_webhook_needs_a_public_address_and_a_queued_batch(client, stored_files, options, code):
    assert_refused(sent(client, *files(1), **options), 400, code)
    assert_nothing_stored(stored_files)


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_queued_batch_is_refused_and_leaves_no_record(client):
    assert_refused(sent(client, *files(3), **{"async": "true"}), 503, "storage_unavailable")

    assert not PredictionBatch.objects.exists()
    assert not QueuedImage.objects.exists()
