"""Similar pictures in the answers of the API."""

from __future__ import annotations

import pytest

from detection.models import PerceptualHash, Prediction, now
from detection.records.lookalikes import MAX_SIMILAR
from tests.support.api import a_client, a_file, a_token, a_user, assert_refused
from tests.support.factories import a_pictured_prediction, a_prediction, jpeg_bytes, scene

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

PICTURE = scene(seed=1)


def similar(client, prediction: Prediction) -> list[dict]:
    response = client.get(f"/api/predictions/{prediction.pk}/similar/")
    assert response.status_code == 200, response.content
    return response.json()["similar"]


def test_a_verdict_names_the_nearest_earlier_one_on_a_similar_picture(client):
    sent = client.post("/api/predict/", {"image": a_file(data=jpeg_bytes(PICTURE))}).json()
    assert sent["similar"] is None

    reviewed = Prediction.objects.get()
    reviewed.review_status, reviewed.reviewed_at = "overturned", now()
    reviewed.save()
    smaller = jpeg_bytes(PICTURE.resize((300, 225)), quality=60)
    again = client.post("/predict", {"image": a_file(data=smaller)}).json()

    nearest = again["similar"]
    assert nearest["id"] == sent["id"]
    assert 0 <= nearest["distance"] <= 20
    assert nearest["label"] == reviewed.label_in_force != sent["prediction"]["label"]
    assert nearest["review_status"] == "overturned"
    assert nearest["reviewed_at"] is not None
    assert client.get(f"/api/predictions/{again['id']}/").json()["similar"] == nearest
    assert client.get(f"/api/predictions/{sent['id']}/").json()["similar"] is None  # it is later


def test_the_similar_pictures_of_a_record_are_listed_nearest_first(client):
    first = a_pictured_prediction(PICTURE)
    cropped = a_pictured_prediction(PICTURE.crop((0, 0, 304, 228)))
    same = a_pictured_prediction(PICTURE)
    a_pictured_prediction(scene(seed=2))

    assert [each["id"] for each in similar(client, first)] == [same.pk, cropped.pk]
    assert similar(client, a_prediction()) == []
    for _ in range(MAX_SIMILAR):
        a_pictured_prediction(PICTURE)
    assert len(similar(client, first)) == MAX_SIMILAR


def test_similar_pictures_of_other_users_are_hidden(closed):
    ann, bob = a_user("ann"), a_user("bob")
    hers, his = (a_pictured_prediction(PICTURE, owner=each) for each in (ann, bob))
    own = a_client(a_token(ann))

    assert similar(own, hers) == []
    assert_refused(own.get(f"/api/predictions/{his.pk}/similar/"), 404, "not_found")
    sent = own.post("/api/predict/", {"image": a_file(data=jpeg_bytes(PICTURE))}).json()
    assert sent["similar"]["id"] == hers.pk


def test_store_false_finds_and_stores_no_similar_picture(client):
    a_pictured_prediction(PICTURE)
    form = {"image": a_file(data=jpeg_bytes(PICTURE)), "store": "false"}

    assert client.post("/api/predict/", form).json()["similar"] is None
    assert PerceptualHash.objects.count() == 6
