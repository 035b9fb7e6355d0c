"""Batches that are judged in the request."""

from __future__ import annotations

import pytest

from detection.api.serializers import MAX_RESULTS
from detection.models import Prediction, PredictionBatch
from detection.records.batches import open_batch
from detection.review.decisions import decide
from tests.support.api import (
    BATCHES,
    a_file,
    assert_nothing_stored,
    assert_refused,
    fetched,
    files,
    images_judged,
    sent,
)
from tests.support.factories import a_prediction, image_bytes
from tests.support.provenance import SAYS_NOTHING

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


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
        "source_url": None,
        "duplicate_of": None,
        "prediction": client.get(f"/api/predictions/{second.pk}/").json()["prediction"],
        "provenance": SAYS_NOTHING,
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
    assert '"images"' in assert_refused(client.post(BATCHES), 400, "missing_image")
    assert '"image"' in assert_refused(
        client.post(BATCHES, {"image": a_file()}), 400, "missing_image"
    )
    assert_nothing_stored(stored_files)


def test_more_than_fifty_images_are_refused(client, stored_files):
    sentence = assert_refused(sent(client, *files(51)), 400, "too_many_images")

    assert "51" in sentence
    assert_nothing_stored(stored_files)


def test_a_bad_file_does_not_affect_the_others(client):
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


def test_a_batch_of_bad_files_only_has_an_answer(client):
    body = sent(client, a_file("a.jpg", b""), a_file("b.jpg", image_bytes()[:-500])).json()

    assert (body["successful"], body["failed"], body["results"]) == (0, 2, [])
    assert [error["code"] for error in body["errors"]] == ["empty_image", "truncated_image"]
    assert client.get(f"{BATCHES}{body['batch_id']}/").json() == body


def test_two_files_with_the_same_name_both_have_a_result(client, stored_files):
    body = sent(client, a_file("same.jpg", seed=1), a_file("same.jpg", seed=2)).json()

    first, second = body["results"]
    assert (first["filename"], second["filename"]) == ("same.jpg", "same.jpg")
    assert first["id"] != second["id"]
    assert first["prediction"] != second["prediction"]
    assert len(stored_files()) == 4


def test_the_same_bytes_twice_are_judged_once_and_both_have_a_result(client, stored_files):
    before = images_judged()
    first, second = sent(client, a_file("a.jpg"), a_file("b.jpg")).json()["results"]

    assert images_judged() - before == 1
    assert first["prediction"] == second["prediction"]
    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["id"])
    assert Prediction.objects.get(pk=second["id"]).duplicate_of == first["id"]
    assert len(stored_files()) == 4


def test_a_given_threshold_applies_to_each_image(client):
    for threshold, label in (("0", "FAKE"), ("1", "REAL")):
        results = sent(client, *files(2), threshold=threshold).json()["results"]
        assert [result["prediction"]["label"] for result in results] == [label, label]


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", "1.1"), ("threshold", "nan"), ("store", "perhaps"), ("async", "perhaps")],
)
def test_an_invalid_option_is_named(client, stored_files, name, value):
    sentence = assert_refused(sent(client, *files(1), **{name: value}), 400, "invalid")

    assert sentence.startswith(f"{name}: ")
    assert_nothing_stored(stored_files)


def test_store_false_stores_nothing(client, stored_files):
    body = sent(client, a_file(), a_file(), a_file("empty.jpg", b""), store="false").json()

    assert (body["batch_id"], body["predictions_url"]) == (None, None)
    assert (body["status"], body["successful"], body["failed"]) == ("done", 2, 1)
    assert [result["index"] for result in body["results"]] == [0, 1]
    for result in body["results"]:
        assert result["prediction"]["label"] in {"REAL", "FAKE"}
        assert result["id"] is result["duplicate_of"] is None
        assert result["result_image_url"] is result["result_filename"] is None
    assert_nothing_stored(stored_files)


def test_a_batch_can_be_retrieved(client):
    body = sent(client, *files(2), a_file("empty.jpg", b"")).json()

    again = client.get(f"{BATCHES}{body['batch_id']}/").json()

    for batch in (body, again):
        for result in batch["results"]:  # a link is signed anew
            assert fetched(client, result.pop("result_image_url")).startswith(b"\xff\xd8")
    assert again == body


def test_a_large_batch_shows_its_first_results(client):
    batch = open_batch(total_images=MAX_RESULTS + 1, source="scan")
    for index in reversed(range(MAX_RESULTS + 1)):
        a_prediction(batch=batch, batch_index=index)

    results = client.get(f"{BATCHES}{batch.pk}/").json()["results"]

    assert [result["index"] for result in results] == list(range(MAX_RESULTS))


def test_the_label_in_force_of_each_result_is_the_reviewers(
    client, moderator, django_assert_num_queries
):
    batch = open_batch(total_images=3, source="scan")
    reviewed = [a_prediction(batch=batch, batch_index=index) for index in (0, 1)]
    a_prediction(batch=batch, batch_index=2)
    for prediction in reviewed:
        decide(prediction=prediction, status="overturned", reviewer=moderator, revision=0)

    with django_assert_num_queries(3):  # the batch, its predictions, their reviewers
        results = client.get(f"{BATCHES}{batch.pk}/").json()["results"]

    assert [(each["prediction"]["label"], each["review"]["label"]) for each in results] == [
        ("FAKE", "REAL"),
        ("FAKE", "REAL"),
        ("FAKE", "FAKE"),
    ]
    assert [each["review"]["status"] for each in results] == ["overturned"] * 2 + ["unreviewed"]
    assert [each["review"]["reviewer"] for each in results] == ["mod", "mod", None]


@pytest.mark.parametrize("pk", ["01M84Q580AZZY3CNE3Y34WJ3B2", "not-an-id"])
def test_an_unknown_batch_is_not_found(client, pk):
    assert_refused(client.get(f"{BATCHES}{pk}/"), 404, "not_found")


@pytest.mark.usefixtures("lost_database")
def test_without_database_a_batch_is_refused(client, stored_files):
    assert_refused(sent(client, *files(2)), 503, "database_unavailable")
    assert stored_files() == []


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_batch_is_refused_and_leaves_no_record(client):
    assert_refused(sent(client, *files(3)), 503, "storage_unavailable")
    assert not Prediction.objects.exists()
    assert not PredictionBatch.objects.exists()
