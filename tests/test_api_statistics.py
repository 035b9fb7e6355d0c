from __future__ import annotations

import pytest

from detection.services import predict_image
from tests.api import a_client, a_token, a_user
from tests.factories import a_prediction, an_upload

pytestmark = pytest.mark.django_db

URL = "/api/statistics/"
NOTHING = {
    "success": True,
    "total_predictions": 0,
    "fake_count": 0,
    "real_count": 0,
    "uncertain_count": 0,
    "fake_percentage": 0.0,
    "real_percentage": 0.0,
    "average_confidence": {"fake": 0.0, "real": 0.0},
}


def test_without_records_every_figure_is_zero(client):
    assert client.get(URL).json() == NOTHING


def test_the_figures_are_exact(client):
    for score, uncertain in ((0.9, False), (0.6, True)):
        a_prediction(fake_score=score, uncertain=uncertain)
    for score, uncertain in ((0.5, True), (0.1, False), (0.1, False), (0.0, False)):
        a_prediction(fake_score=score, uncertain=uncertain)

    assert client.get(URL).json() == {
        "success": True,
        "total_predictions": 6,
        "fake_count": 2,
        "real_count": 4,
        "uncertain_count": 2,
        "fake_percentage": 33.33,
        "real_percentage": 66.67,
        "average_confidence": {"fake": 0.75, "real": 0.825},
    }


def test_with_one_label_only_the_other_is_zero(client):
    a_prediction(fake_score=0.8)

    assert client.get(URL).json() == {
        **NOTHING,
        "total_predictions": 1,
        "fake_count": 1,
        "fake_percentage": 100.0,
        "average_confidence": {"fake": 0.8, "real": 0.0},
    }


def test_a_review_does_not_change_what_the_model_said(client):
    a_prediction(fake_score=0.8, review_status="overturned")

    assert client.get(URL).json()["fake_count"] == 1


@pytest.mark.usefixtures("tiny_checkpoint")
def test_each_prediction_counts_duplicates_too(client):
    for _ in range(2):
        predict_image(upload=an_upload(), source="api")

    assert client.get(URL).json()["total_predictions"] == 2


def test_with_tokens_people_count_their_own(settings):
    settings.API_ACCESS = "token"
    ann, bob, staff = a_user("ann"), a_user("bob"), a_user("sue", is_staff=True)
    a_prediction(owner=ann, fake_score=0.9)
    a_prediction(owner=bob, fake_score=0.2)
    a_prediction(owner=None, fake_score=0.2)

    totals = {
        user.username: a_client(a_token(user)).get(URL).json()["total_predictions"]
        for user in (ann, bob, staff)
    }
    assert totals == {"ann": 1, "bob": 1, "sue": 3}
    assert a_client(a_token(ann)).get(URL).json()["real_count"] == 0
