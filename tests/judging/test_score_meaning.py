"""The meaning of a score in a test of the model, on pages and in the API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detection.judging.active_detector import get_detector
from detection.models import Prediction
from tests.support.api import a_file
from tests.support.factories import a_prediction
from tests.support.pages import Page
from tests.support.scorecards import a_scorecard

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def measured_model(monkeypatch) -> str:
    """Give the model of the process a scorecard. Return the model's version."""
    detector = get_detector()
    monkeypatch.setattr(detector, "info", replace(detector.info, scorecard=a_scorecard()))
    return detector.info.version


def prediction_of(client, record: Prediction) -> dict:
    return client.get(f"/api/predictions/{record.pk}/").json()["prediction"]


def page_of(client, record: Prediction) -> str:
    return Page(client.get(f"/history/{record.pk}/").content.decode()).text


@pytest.mark.parametrize("path", ["/api/predict/", "/predict"])
def test_a_verdict_says_what_its_score_meant(client, measured_model, path):
    prediction = client.post(path, {"image": a_file()}).json()["prediction"]

    assert prediction["meaning"] == a_scorecard().meaning(prediction["scores"]["fake"])
    assert "of 100 with a score like this were generated" in prediction["meaning"]


def test_each_result_of_a_batch_and_each_record_says_it_too(client, measured_model):
    batch = client.post("/api/batches/", {"images": [a_file("a.jpg"), a_file("b.jpg")]}).json()
    stored = client.get("/api/predictions/").json()["predictions"]
    again = client.get(f"/api/batches/{batch['batch_id']}/").json()

    results = [*batch["results"], *stored, *again["results"]]
    assert len(results) == 6
    for each in results:
        score = each["prediction"]["scores"]["fake"]
        assert each["prediction"]["meaning"] == a_scorecard().meaning(score)


def test_a_verdict_that_is_not_stored_says_it_too(client, measured_model):
    prediction = client.post("/predict", {"image": a_file(), "store": "false"}).json()["prediction"]

    assert prediction["meaning"] == a_scorecard().meaning(prediction["scores"]["fake"])


def test_the_score_of_another_model_has_no_meaning(client, measured_model):
    ours = a_prediction(model_version=measured_model, fake_score=0.9)
    others = a_prediction(model_version="0000000000000000", fake_score=0.9)

    assert prediction_of(client, ours)["meaning"] == a_scorecard().meaning(0.9)
    assert prediction_of(client, others)["meaning"] is None
    assert "In a test with as many photographs" in page_of(client, ours)
    assert "In a test" not in page_of(client, others)


def test_without_a_measurement_scores_have_no_meaning(client):
    record = a_prediction(model_version=get_detector().info.version)

    assert prediction_of(client, record)["meaning"] is None
    assert "In a test" not in page_of(client, record)


def test_a_missing_detector_does_not_hide_the_records(client, monkeypatch, settings):
    record = a_prediction()
    monkeypatch.setattr("detection.judging.active_detector._active._detector", None)
    settings.MODEL_CHECKPOINT_PATH = settings.BASE_DIR / "nothing.safetensors"

    assert prediction_of(client, record)["meaning"] is None


def test_the_card_of_the_front_page_says_it_below_the_score(client, measured_model):
    page = Page(client.post("/", {"image": a_file()}).content.decode())

    [record] = Prediction.objects.all()
    sentence = a_scorecard().meaning(record.fake_score)
    assert f"fake score {sentence}" in page.text
