from __future__ import annotations

import io

import pytest
from django.core.files.storage import default_storage
from PIL import Image

from detection.judging.heatmaps import OtherModelError
from detection.models import Prediction
from tests.support.api import a_client, a_file, a_token, a_user, assert_refused, fetched
from tests.support.factories import a_prediction
from tests.support.failures import raising

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def predicted(client, **form) -> dict:
    response = client.post("/api/predict/", {"image": a_file(), **form})
    assert response.status_code == 200, response.content
    return response.json()


def test_a_heatmap_is_made_on_demand(client):
    body = predicted(client)
    assert body["heatmap_url"] is None

    response = client.get(f"/api/predictions/{body['id']}/heatmap/")

    assert response.status_code == 200
    assert response["Content-Type"] == "image/jpeg"
    assert "private" in response["Cache-Control"]
    picture = b"".join(response.streaming_content)
    size = (body["image_info"]["width"], body["image_info"]["height"])
    assert Image.open(io.BytesIO(picture)).size == size
    storage = client.get(f"/api/predictions/{body['id']}/").json()["storage"]
    assert fetched(client, storage["heatmap_url"]) == picture


def test_explain_adds_the_heatmap_to_the_verdict(client):
    body = predicted(client, explain="true")

    picture = Image.open(io.BytesIO(fetched(client, body["heatmap_url"])))

    assert picture.format == "JPEG"
    assert Prediction.objects.get().heatmap_image


def test_explain_needs_a_stored_verdict(client):
    response = client.post(
        "/api/predict/", {"image": a_file(), "explain": "true", "store": "false"}
    )

    sentence = assert_refused(response, 400, "invalid")
    assert sentence == "explain: A heatmap is stored; leave out store=false."


def test_a_mistyped_explain_is_refused(client):
    response = client.post("/api/predict/", {"image": a_file(), "explain": "yes"})

    assert_refused(response, 400, "invalid")
    assert not Prediction.objects.exists()


def test_an_unknown_record_has_no_heatmap(client):
    response = client.get("/api/predictions/01M84Q580AZZY3CNE3Y34WJ3B2/heatmap/")

    assert_refused(response, 404, "not_found")


def test_a_record_of_an_earlier_model_gets_no_heatmap(client):
    prediction = a_prediction(model_name="d3-old", model_version="0")

    response = client.get(f"/api/predictions/{prediction.pk}/heatmap/")

    assert "d3-old 0, which no longer runs here" in assert_refused(response, 409, "other_model")
    assert not Prediction.objects.get().heatmap_image


def test_a_lost_original_is_reported_in_a_sentence(client):
    body = predicted(client)
    default_storage.delete(Prediction.objects.get().original_image.name)

    response = client.get(f"/api/predictions/{body['id']}/heatmap/")

    sentence = assert_refused(response, 404, "original_lost")
    assert sentence == "The original of test.jpg is no longer in the storage."


def test_other_users_see_no_heatmap(client, closed):
    ann, bob = (a_client(a_token(a_user(name))) for name in ("ann", "bob"))
    body = predicted(ann)

    path = f"/api/predictions/{body['id']}/heatmap/"

    assert ann.get(path).status_code == 200
    assert_refused(bob.get(path), 404, "not_found")
    assert_refused(client.get(path), 401, "not_authenticated")


def test_drawing_is_throttled_like_judging_and_reading_is_not(client, rates):
    rates["predict"] = "3/min"
    first, second = predicted(client), predicted(client)
    path = f"/api/predictions/{first['id']}/heatmap/"

    assert [client.get(path).status_code for _ in range(3)] == [200, 200, 200]
    refused = client.get(f"/api/predictions/{second['id']}/heatmap/")
    assert_refused(refused, 429, "throttled")


def test_a_verdict_is_stored_when_its_heatmap_fails(client, monkeypatch):
    other_model = OtherModelError("Another model was activated in between.")
    monkeypatch.setattr("detection.judging.predict.open_heatmap", raising(other_model))

    body = predicted(client, explain="true")

    assert body["heatmap_url"] is None
    assert Prediction.objects.get().pk == body["id"]
