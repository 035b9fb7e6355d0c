from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model

from detection.judging.predict import predict_image
from detection.models import Prediction, new_id, now
from detection.records.batches import open_batch
from tests.support.api import a_user, assert_refused, fetched
from tests.support.factories import a_prediction, an_upload

pytestmark = pytest.mark.django_db

URL = "/api/predictions/"
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def names(client, **query: str) -> list[str]:
    response = client.get(URL, query)
    assert response.status_code == 200, response.content
    return [record["filename"] for record in response.json()["predictions"]]


def ids(page: dict) -> list[str]:
    return [record["id"] for record in page["predictions"]]


@pytest.fixture
def four_records() -> None:
    a_prediction(original_filename="Holiday.jpg", fake_score=0.1, created_at=NOON - 2 * DAY)
    a_prediction(
        original_filename="holiday 2.png",
        fake_score=0.5,
        uncertain=True,
        review_status="confirmed",
        created_at=NOON - DAY,
    )
    a_prediction(
        original_filename="a.*(b.jpg",
        fake_score=0.75,
        review_status="overturned",
        declares="generated",
        created_at=NOON,
    )
    a_prediction(original_filename="100%_sure[1].jpg", fake_score=1.0, created_at=NOON + DAY)


FIRST, SECOND, THIRD, FOURTH = "Holiday.jpg", "holiday 2.png", "a.*(b.jpg", "100%_sure[1].jpg"
FILTERS = [
    ({}, [FOURTH, THIRD, SECOND, FIRST]),
    ({"label": "FAKE"}, [FOURTH, THIRD]),
    ({"label": "fake"}, [FOURTH, THIRD]),
    ({"label": "Real"}, [SECOND, FIRST]),
    ({"review_status": "unreviewed"}, [FOURTH, FIRST]),
    ({"review_status": "confirmed"}, [SECOND]),
    ({"review_status": "overturned"}, [THIRD]),
    ({"uncertain": "true"}, [SECOND]),
    ({"declares": "generated"}, [THIRD]),
    ({"declares": "captured"}, []),
    ({"uncertain": "false"}, [FOURTH, THIRD, FIRST]),
    ({"min_score": "0.5"}, [FOURTH, THIRD, SECOND]),
    ({"max_score": "0.5"}, [SECOND, FIRST]),
    ({"min_score": "0", "max_score": "1"}, [FOURTH, THIRD, SECOND, FIRST]),
    ({"min_score": "0.2", "max_score": "0.8"}, [THIRD, SECOND]),
    ({"from": "2026-03-05"}, [FOURTH, THIRD]),
    ({"to": "2026-03-05"}, [THIRD, SECOND, FIRST]),
    ({"from": "2026-03-04", "to": "2026-03-04"}, [SECOND]),
    ({"from": "2026-03-05T12:00:00Z"}, [FOURTH, THIRD]),
    ({"from": "2026-03-05T12:00:00.001Z"}, [FOURTH]),
    ({"to": "2026-03-05T12:00:00Z"}, [SECOND, FIRST]),
    ({"from": "2026-03-05T13:00:00+01:00", "to": "2026-03-05T12:00:01"}, [THIRD]),
    ({"search": "holiday"}, [SECOND, FIRST]),
    ({"search": "HOLIDAY"}, [SECOND, FIRST]),
    ({"search": "a.*(b"}, [THIRD]),
    ({"search": ".*"}, [THIRD]),
    ({"search": "%_"}, [FOURTH]),
    ({"search": "[1]"}, [FOURTH]),
    ({"search": "nothing like it"}, []),
    ({"label": "real", "uncertain": "false", "search": "jpg", "to": "2026-03-04"}, [FIRST]),
    ({"label": "fake", "review_status": "overturned", "min_score": "0.7"}, [THIRD]),
    ({"limit": "1"}, [FOURTH]),
    ({"page_size": "2"}, [FOURTH, THIRD]),
    ({"limit": "100"}, [FOURTH, THIRD, SECOND, FIRST]),
]


@pytest.mark.usefixtures("four_records")
def test_the_history_is_newest_first_and_filtered(client):
    answers = [(query, names(client, **query)) for query, _ in FILTERS]

    assert answers == FILTERS


def test_the_history_of_a_batch_has_its_images_only(client):
    batch = open_batch(total_images=2, source="batch")
    a_prediction(original_filename="another.jpg")
    a_prediction(original_filename="in it.jpg", batch=batch, batch_index=0)

    assert names(client, batch=batch.pk) == ["in it.jpg"]
    assert names(client, batch=new_id()) == []


def test_an_empty_history_is_one_empty_page(client):
    assert client.get(URL).json() == {
        "success": True,
        "count": 0,
        "next": None,
        "previous": None,
        "searched_to": None,
        "predictions": [],
    }


def test_pages_have_no_gap_and_no_duplicate_while_records_arrive(client):
    moments = [NOON - DAY, *[NOON] * 5, NOON + DAY]
    before = [a_prediction(created_at=moment) for moment in moments]
    expected = [each.pk for each in sorted(before, key=lambda each: (each.created_at, each.pk))]
    page = client.get(URL, {"page_size": 2, "label": "fake"}).json()
    seen = ids(page)
    while page["next"]:
        a_prediction(created_at=NOON, id=f"7{new_id()[1:]}")
        a_prediction()
        page = client.get(page["next"]).json()
        assert page["count"] == len(ids(page)) > 0
        seen += ids(page)

    assert seen == expected[::-1]


def test_going_back_leads_to_the_same_page(client):
    for _ in range(5):
        a_prediction(created_at=NOON)
    first = client.get(URL, {"page_size": 2}).json()
    second = client.get(first["next"]).json()

    assert ids(client.get(second["previous"]).json()) == ids(first)
    assert ids(client.get(client.get(second["previous"]).json()["next"]).json()) == ids(second)


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_record_has_all_fields(client):
    prediction = predict_image(upload=an_upload(), source="api")

    body = client.get(f"{URL}{prediction.pk}/").json()

    [listed] = client.get(URL).json()["predictions"]
    moment = prediction.created_at.isoformat().replace("+00:00", "Z")
    assert set(body) == {"success", "similar", *listed}
    assert body["success"] is True
    assert (body["id"], body["filename"], body["source"]) == (prediction.pk, "test.jpg", "api")
    assert (body["batch_id"], body["duplicate_of"]) == (None, None)
    assert body["prediction"]["label"] == prediction.label
    assert body["image_info"]["sha256"] == prediction.sha256
    assert body["timestamps"] == {"created_at": moment, "updated_at": moment}
    assert body["model"]["version"] == prediction.model_version
    assert body["storage"]["result_filename"] == prediction.result_filename
    assert body["review"] == {
        "status": "unreviewed",
        "label": prediction.label,
        "reviewer": None,
        "reviewed_at": None,
        "note": "",
    }


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_files_of_an_old_record_still_open(client):
    prediction = predict_image(upload=an_upload(), source="api")
    Prediction.objects.update(created_at=now() - 40 * DAY)

    for record in (
        client.get(f"{URL}{prediction.pk}/").json(),
        client.get(URL).json()["predictions"][0],
    ):
        assert fetched(client, record["storage"]["minio_url"]).startswith(b"\xff\xd8")
        assert fetched(client, record["storage"]["original_url"]) == an_upload().data


def test_the_note_of_an_unreviewed_record_is_hidden(client):
    prediction = a_prediction(review_note="Ask the photographer.")

    assert client.get(f"{URL}{prediction.pk}/").json()["review"]["note"] == ""


def test_a_review_shows_the_reviewers_label(client):
    a_user("rita")
    prediction = a_prediction(
        review_status="overturned",
        reviewer=get_user_model().objects.get(),
        reviewed_at=NOON,
        review_note="A known photograph.",
        created_at=NOON - DAY,
        updated_at=NOON,
    )

    for record in (
        client.get(f"{URL}{prediction.pk}/").json(),
        client.get(URL).json()["predictions"][0],
    ):
        assert record["prediction"]["label"] == "FAKE"
        assert record["review"] == {
            "status": "overturned",
            "label": "REAL",
            "reviewer": "rita",
            "reviewed_at": "2026-03-05T12:00:00Z",
            "note": "A known photograph.",
        }
        assert record["timestamps"]["updated_at"] == "2026-03-05T12:00:00Z"


@pytest.mark.parametrize("pk", ["01M84Q580AZZY3CNE3Y34WJ3B2", "not-an-id", "1"])
def test_an_unknown_record_is_not_found(client, pk):
    assert_refused(client.get(f"{URL}{pk}/"), 404, "not_found")
    assert_refused(client.delete(f"{URL}{pk}/"), 404, "not_found")
