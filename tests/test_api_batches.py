from __future__ import annotations

import io
import tarfile
import time
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from detection import background
from detection.api.serializers import MOST_RESULTS
from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.review import decide
from detection.services import open_batch
from detection.webhooks import webhook_secret
from tests.api import a_client, a_file, a_token, a_user, assert_refused, fetched, images_judged
from tests.factories import a_prediction, image_bytes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

URL = "/api/batches/"
POLLING_SECONDS = 20


def sent(client, *files, **options):
    return client.post(URL, {"images": files, **options})


def files(count: int) -> list:
    return [a_file(f"{i}.jpg", image_bytes(size=(16, 12), seed=i)) for i in range(count)]


def finished(client, url: str) -> dict:
    """The batch, asked for until it is finished and nobody works any more."""
    deadline = time.monotonic() + POLLING_SECONDS
    while time.monotonic() < deadline:
        body = client.get(url).json()
        if body["finished_at"] and background.is_idle():
            return body
        time.sleep(0.05)
    raise AssertionError(f"{url} is not finished after {POLLING_SECONDS} s: {body}")


def assert_nothing_stored(stored_files) -> None:
    assert not Prediction.objects.exists()
    assert not PredictionBatch.objects.exists()
    assert stored_files() == []


def test_a_batch_answers_as_the_contract_says(client):
    body = sent(client, *files(2)).json()

    batch = PredictionBatch.objects.get()
    first, second = batch.predictions.order_by("batch_index")
    assert body == {
        "success": True,
        "batch_id": batch.pk,
        "status": "done",
        "total_images": 2,
        "successful": 2,
        "failed": 0,
        "created_at": batch.created_at.isoformat().replace("+00:00", "Z"),
        "finished_at": batch.finished_at.isoformat().replace("+00:00", "Z"),
        "results": body["results"],
        "errors": None,
        "predictions_url": f"http://testserver/api/predictions?batch={batch.pk}",
    }
    assert [result["id"] for result in body["results"]] == [first.pk, second.pk]
    assert body["results"][1] == {
        "index": 1,
        "filename": "1.jpg",
        "id": second.pk,
        "duplicate_of": None,
        "prediction": client.get(f"/api/predictions/{second.pk}/").json()["prediction"],
        "result_image_url": body["results"][1]["result_image_url"],
        "result_filename": second.result_filename,
        "review": {
            "status": "unreviewed",
            "label": second.label,
            "reviewer": None,
            "reviewed_at": None,
            "note": "",
        },
    }


@pytest.mark.parametrize("count", [1, 50])
def test_one_to_fifty_images_are_judged_together(client, count):
    body = sent(client, *files(count)).json()

    assert (body["total_images"], body["successful"], body["failed"]) == (count, count, 0)
    assert [result["index"] for result in body["results"]] == list(range(count))
    assert [result["filename"] for result in body["results"]] == [f"{i}.jpg" for i in range(count)]
    assert Prediction.objects.filter(batch=body["batch_id"]).count() == count


def test_a_batch_without_images_is_refused(client, stored_files):
    assert '"images"' in assert_refused(client.post(URL), 400, "missing_image")
    assert '"image"' in assert_refused(client.post(URL, {"image": a_file()}), 400, "missing_image")
    assert_nothing_stored(stored_files)


def test_more_than_fifty_images_are_refused(client, stored_files):
    sentence = assert_refused(sent(client, *files(51)), 400, "too_many_images")

    assert "51" in sentence
    assert_nothing_stored(stored_files)


def test_a_bad_file_does_not_sink_the_others(client):
    body = sent(
        client, a_file("a.jpg"), a_file("notes.jpg", b"just text, long enough"), a_file("c.jpg")
    ).json()

    assert body["success"] is True
    assert (body["successful"], body["failed"]) == (2, 1)
    assert [(each["index"], each["filename"]) for each in body["results"]] == [
        (0, "a.jpg"),
        (2, "c.jpg"),
    ]
    [error] = body["errors"]
    assert set(error) == {"index", "filename", "error", "code"}
    assert (error["index"], error["filename"]) == (1, "notes.jpg")
    assert error["code"] == "unsupported_image_type"


def test_a_batch_of_bad_files_only_is_still_an_answer(client):
    body = sent(client, a_file("a.jpg", b""), a_file("b.jpg", image_bytes()[:-500])).json()

    assert (body["successful"], body["failed"], body["results"]) == (0, 2, [])
    assert [error["code"] for error in body["errors"]] == ["empty_image", "truncated_image"]
    assert client.get(f"{URL}{body['batch_id']}/").json() == body


def test_two_files_of_one_name_both_come_back(client, stored_files):
    body = sent(client, a_file("same.jpg", seed=1), a_file("same.jpg", seed=2)).json()

    first, second = body["results"]
    assert (first["filename"], second["filename"]) == ("same.jpg", "same.jpg")
    assert first["id"] != second["id"]
    assert first["prediction"] != second["prediction"]
    assert len(stored_files()) == 4


def test_the_same_bytes_twice_are_judged_once_and_both_come_back(client, stored_files):
    before = images_judged()
    first, second = sent(client, a_file("a.jpg"), a_file("b.jpg")).json()["results"]

    assert images_judged() - before == 1
    assert first["prediction"] == second["prediction"]
    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["id"])
    assert Prediction.objects.get(pk=second["id"]).duplicate_of == first["id"]
    assert len(stored_files()) == 4


def test_a_threshold_of_ones_own_holds_for_each_image(client):
    for threshold, label in (("0", "FAKE"), ("1", "REAL")):
        results = sent(client, *files(2), threshold=threshold).json()["results"]
        assert [result["prediction"]["label"] for result in results] == [label, label]


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", "1.1"), ("threshold", "nan"), ("store", "perhaps"), ("async", "perhaps")],
)
def test_an_option_that_is_not_understood_is_named(client, stored_files, name, value):
    sentence = assert_refused(sent(client, *files(1), **{name: value}), 400, "invalid")

    assert sentence.startswith(f"{name}: ")
    assert_nothing_stored(stored_files)


def test_verdicts_alone_leave_nothing(client, stored_files):
    body = sent(client, a_file(), a_file(), a_file("empty.jpg", b""), store="false").json()

    assert (body["batch_id"], body["predictions_url"]) == (None, None)
    assert (body["status"], body["successful"], body["failed"]) == ("done", 2, 1)
    assert [result["index"] for result in body["results"]] == [0, 1]
    for result in body["results"]:
        assert result["prediction"]["label"] in {"REAL", "FAKE"}
        assert result["id"] is result["duplicate_of"] is None
        assert result["result_image_url"] is result["result_filename"] is None
    assert_nothing_stored(stored_files)


def test_a_batch_can_be_asked_for_again(client):
    body = sent(client, *files(2), a_file("empty.jpg", b"")).json()

    again = client.get(f"{URL}{body['batch_id']}/").json()

    for batch in (body, again):
        for result in batch["results"]:  # a link is signed anew
            assert fetched(client, result.pop("result_image_url")).startswith(b"\xff\xd8")
    assert again == body


def test_of_a_large_batch_the_first_results_are_shown(client):
    batch = open_batch(total_images=MOST_RESULTS + 1, source="scan")
    for index in reversed(range(MOST_RESULTS + 1)):
        a_prediction(batch=batch, batch_index=index)

    results = client.get(f"{URL}{batch.pk}/").json()["results"]

    assert [result["index"] for result in results] == list(range(MOST_RESULTS))


def test_the_label_in_force_of_each_result_is_the_reviewers(client, moderator):
    batch = open_batch(total_images=3, source="scan")
    reviewed = [a_prediction(batch=batch, batch_index=index) for index in (0, 1)]
    a_prediction(batch=batch, batch_index=2)
    for prediction in reviewed:
        decide(prediction=prediction, status="overturned", reviewer=moderator, revision=0)

    with CaptureQueriesContext(connection) as queries:
        results = client.get(f"{URL}{batch.pk}/").json()["results"]

    assert [(each["prediction"]["label"], each["review"]["label"]) for each in results] == [
        ("FAKE", "REAL"),
        ("FAKE", "REAL"),
        ("FAKE", "FAKE"),
    ]
    assert [each["review"]["status"] for each in results] == ["overturned"] * 2 + ["unreviewed"]
    assert [each["review"]["reviewer"] for each in results] == ["mod", "mod", None]
    assert len(queries) == 3  # the batch, its predictions, their reviewers


@pytest.mark.parametrize("pk", ["01M84Q580AZZY3CNE3Y34WJ3B2", "not-an-id"])
def test_an_unknown_batch_is_not_found(client, pk):
    assert_refused(client.get(f"{URL}{pk}/"), 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_a_batch_for_later_is_accepted_and_then_done(client):
    response = sent(client, *files(9), a_file("empty.jpg", b""), **{"async": "true"})

    body = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"http://testserver{URL}{body['batch_id']}"
    assert body["status"] == "queued"
    assert (body["total_images"], body["successful"], body["failed"]) == (10, 0, 0)
    assert (body["results"], body["errors"], body["finished_at"]) == ([], None, None)
    body = finished(client, response.headers["Location"])
    assert (body["status"], body["successful"], body["failed"]) == ("done", 9, 1)
    assert [result["index"] for result in body["results"]] == list(range(9))
    assert [error["index"] for error in body["errors"]] == [9]


@pytest.mark.django_db(transaction=True)
def test_large_files_on_disk_outlive_their_request(client, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10

    response = sent(client, *files(2), **{"async": "true", "threshold": "0"})

    body = finished(client, response.headers["Location"])
    assert [result["prediction"]["label"] for result in body["results"]] == ["FAKE", "FAKE"]


def test_nothing_can_be_asked_for_later_without_a_record(client, stored_files):
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


def test_only_a_batch_that_waits_takes_parts(client, stored_files):
    assert "more" in assert_refused(sent(client, *files(1), more="true"), 400, "invalid")
    assert_nothing_stored(stored_files)
    place = f"{URL}{sent(client, *files(1)).json()['batch_id']}/images/"

    assert_refused(client.post(place, {"images": files(1)}), 409, "batch_closed")
    unknown = "/api/batches/01M84Q580AZZY3CNE3Y34WJ3B2/images/"
    assert_refused(client.post(unknown, {"images": files(1)}), 404, "not_found")
    assert Prediction.objects.count() == 1


def test_nobody_adds_to_the_batch_of_somebody_else(settings, monkeypatch, stored_files):
    monkeypatch.setattr(background, "start", lambda: None)
    settings.API_ACCESS = "token"
    ann, bob, boss = a_user("ann"), a_user("bob"), a_user("boss", is_staff=True)
    opened = sent(a_client(a_token(ann)), *files(1), **{"async": "true", "more": "true"})
    place, before = f"{opened.headers['Location']}/images/", stored_files()

    for user, status, code in ((bob, 404, "not_found"), (boss, 403, "permission_denied")):
        refused = a_client(a_token(user)).post(place, {"images": files(1)})
        assert_refused(refused, status, code)
    assert stored_files() == before
    assert a_client(a_token(ann)).post(place, {"images": files(1)}).status_code == 202


def test_more_than_ten_thousand_images_are_refused(client, settings, stored_files, monkeypatch):
    monkeypatch.setattr(background, "start", lambda: None)
    monkeypatch.setattr("detection.api.views.batches.MOST_QUEUED", 3)
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
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for seed, name in enumerate(names):
            archive.writestr(name, image_bytes(size=(16, 12), seed=seed))
        archive.writestr("read.me", "no image, and not named like one")
        archive.writestr("notes.jpg", "no image")
    return SimpleUploadedFile("pictures.zip", packed.getvalue())


@pytest.mark.django_db(transaction=True)
def test_an_archive_is_a_batch_or_a_part_of_one(client):
    opened = client.post(
        URL, {"archive": a_zip("a.jpg", "b/c.jpg"), "async": "true", "more": "true"}
    )
    place = opened.headers["Location"]
    assert client.post(f"{place}/images/", {"archive": a_zip("d.jpg")}).status_code == 202

    body = finished(client, place)

    assert (body["status"], body["total_images"], body["failed"]) == ("done", 5, 2)
    names = {result["index"]: result["filename"] for result in body["results"]}
    assert names == {0: "a.jpg", 1: "c.jpg", 3: "d.jpg"}
    assert [error["filename"] for error in body["errors"]] == ["notes.jpg", "notes.jpg"]


def test_an_archive_that_breaks_off_leaves_nothing(client, stored_files):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for seed in range(3):
            data = image_bytes(seed=seed)
            member = tarfile.TarInfo(f"{seed}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    broken = SimpleUploadedFile("pictures.tar", whole.getvalue()[: 2 * len(image_bytes())])

    response = client.post(URL, {"archive": broken, "async": "true"})

    assert_refused(response, 400, "invalid_archive")
    assert not QueuedImage.objects.exists()
    assert_nothing_stored(stored_files)


def test_an_archive_goes_with_nothing_else_and_not_at_once(client, stored_files):
    both = {"archive": a_zip("a.jpg"), "images": files(1), "async": "true"}

    assert_refused(client.post(URL, both), 400, "too_many_images")
    assert_refused(client.post(URL, {"archive": a_zip("a.jpg")}), 400, "missing_image")
    assert_nothing_stored(stored_files)


@pytest.mark.django_db(transaction=True)
def test_whoever_gave_an_address_gets_the_secret_and_the_webhook_is_due_when_it_is_done(
    client, settings, monkeypatch
):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    later = {"async": "true", "webhook_url": "http://127.0.0.1:9/done"}
    monkeypatch.setattr(background._webhooks, "_look", lambda: None)

    opened = sent(client, *files(1), **later)

    [batch] = PredictionBatch.objects.all()
    assert opened.json()["webhook_secret"] == webhook_secret(batch)
    assert "webhook_secret" not in finished(client, opened.headers["Location"])
    assert PredictionBatch.objects.get().webhook_due_at is not None


def test_whoever_adds_to_a_batch_is_not_told_its_secret(client, settings):
    """In open mode that may be somebody else."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    later = {"async": "true", "more": "true", "webhook_url": "http://127.0.0.1:9/done"}
    opened = sent(client, *files(1), **later)

    added = client.post(
        f"{opened.headers['Location']}/images/", {"more": "true", "images": files(1)}
    )

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
def test_a_webhook_needs_a_public_address_and_a_batch_that_waits(
    client, stored_files, options, code
):
    assert_refused(sent(client, *files(1), **options), 400, code)
    assert_nothing_stored(stored_files)


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_batch_for_later_is_refused_and_leaves_no_record(client):
    assert_refused(sent(client, *files(3), **{"async": "true"}), 503, "storage_unavailable")

    assert not PredictionBatch.objects.exists()
    assert not QueuedImage.objects.exists()


@pytest.mark.usefixtures("lost_database")
def test_without_database_a_batch_is_refused(client, stored_files):
    response = sent(client, *files(2))

    assert_refused(response, 503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert stored_files() == []


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_batch_is_refused_and_leaves_no_record(client):
    response = sent(client, *files(3))

    assert_refused(response, 503, "storage_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert not Prediction.objects.exists()
    assert not PredictionBatch.objects.exists()
