from __future__ import annotations

import pytest

from detection.judging.predict import predict_image, predict_images
from detection.models import Prediction, PredictionBatch
from detection.records.batches import open_batch
from tests.support.factories import a_prediction, an_upload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def test_predictions_and_batches_are_listed(admin_client):
    prediction = predict_image(upload=an_upload(filename="holiday.jpg"), source="api")
    batch = open_batch(total_images=3, source="scan")

    assert "holiday.jpg" in admin_client.get("/admin/detection/prediction/").content.decode()
    assert batch.pk in admin_client.get("/admin/detection/predictionbatch/").content.decode()
    page = admin_client.get(f"/admin/detection/prediction/{prediction.pk}/change/")
    assert prediction.sha256 in page.content.decode()


def test_the_models_verdict_cannot_be_edited(admin_client):
    prediction = predict_image(upload=an_upload(), source="api")

    response = admin_client.post(
        f"/admin/detection/prediction/{prediction.pk}/change/", {"label": "REAL"}
    )

    assert response.status_code == 403
    assert admin_client.get("/admin/detection/prediction/add/").status_code == 403


def test_deleting_removes_the_files_too(admin_client, stored_files):
    prediction = predict_image(upload=an_upload(), source="api")

    admin_client.post(f"/admin/detection/prediction/{prediction.pk}/delete/", {"post": "yes"})

    assert not Prediction.objects.exists()
    assert stored_files() == []


def test_deleting_a_batch_keeps_its_predictions(admin_client):
    batch = open_batch(total_images=1, source="scan")
    list(predict_images(uploads=[an_upload()], source="scan", batch=batch))

    admin_client.post(f"/admin/detection/predictionbatch/{batch.pk}/delete/", {"post": "yes"})

    assert not PredictionBatch.objects.exists()
    assert Prediction.objects.get().batch is None


def test_moderators_see_records_and_nothing_else(moderator_client):
    prediction, batch = a_prediction(), open_batch(total_images=1, source="scan")
    seen = {
        path: moderator_client.get(f"/admin/{path}").status_code
        for path in (
            "",
            "detection/prediction/",
            f"detection/prediction/{prediction.pk}/change/",
            f"detection/prediction/{prediction.pk}/delete/",
            "detection/predictionbatch/",
            f"detection/predictionbatch/{batch.pk}/change/",
            f"detection/predictionbatch/{batch.pk}/delete/",
            "detection/accesstoken/",
            "auth/user/",
            "auth/group/",
        )
    }

    assert list(seen.values()) == [200, 200, 200, 403, 200, 200, 403, 403, 403, 403]
