"""Look-alikes on the review screen: shown, decided alike, and undone."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from detection.admin.review_session import KEY
from detection.models import Prediction
from detection.review.decisions import claim
from tests.support.factories import a_pictured_prediction, a_prediction, scene
from tests.support.reviewing import decided, shown, stored, text, url

pytestmark = pytest.mark.django_db

REVIEW = Prediction.Review
PICTURE = scene(seed=1)


def alike(**fields) -> Prediction:
    sha256 = f"{Prediction.objects.count() + 1:064x}"  # other bytes
    return a_pictured_prediction(PICTURE, sha256=sha256, **fields)


def decide_alike(client, prediction: Prediction, decision: str):
    form = {"decision": decision, "revision": 0, "note": "", "alike": "on"}
    return client.post(url(prediction), form, follow=True)


def statuses(*predictions: Prediction) -> list[str]:
    return [stored(each).review_status for each in predictions]


def test_a_strip_shows_the_look_alikes_with_their_decisions(moderator_client):
    prediction = alike(fake_score=0.9)
    decided(moderator_client, other := alike(original_filename="again.jpg"), "overturn")
    a_pictured_prediction(scene(seed=2), original_filename="different.jpg")
    page = text(moderator_client.get(url(prediction)))

    assert "Look-alikes again.jpg" in page
    assert "overturned as REAL, 0 of 256 bits differ" in page
    assert "different.jpg" not in page
    assert "of this picture" not in page
    assert other.pk in moderator_client.get(url(prediction)).content.decode()
    assert "Look-alikes" not in text(moderator_client.get(url(a_prediction())))


def test_nothing_is_decided_unless_the_moderator_asks(moderator_client):
    prediction, other = alike(), alike()
    assert "Also decide 1 other unreviewed record of this picture" in text(
        moderator_client.get(url(prediction))
    )
    decided(moderator_client, prediction, "confirm")

    assert statuses(prediction, other) == [REVIEW.CONFIRMED, REVIEW.UNREVIEWED]


def test_the_look_alikes_get_the_label_of_the_decision(moderator, moderator_client):
    prediction = alike(fake_score=0.9)
    fake, real, done = alike(fake_score=0.8), alike(fake_score=0.1), alike(fake_score=0.8)
    decided(moderator_client, done, "overturn")
    page = decide_alike(moderator_client, prediction, "confirm")

    assert "Confirmed as FAKE: test.jpg, with 2 look-alikes" in text(page)
    assert statuses(prediction, fake, real, done) == [
        REVIEW.CONFIRMED,
        REVIEW.CONFIRMED,
        REVIEW.OVERTURNED,
        REVIEW.OVERTURNED,
    ]
    assert {stored(each).label_in_force for each in (prediction, fake, real)} == {"FAKE"}
    assert stored(real).reviewer == moderator
    logged = LogEntry.objects.get(object_id=real.pk).get_change_message()
    assert logged == (
        f"Overturned: FAKE instead of REAL. Decided with {prediction.pk}, a similar picture."
    )


def test_undo_reopens_the_look_alikes_that_have_not_changed_since(moderator_client, other_client):
    prediction, first, second = alike(), alike(), alike()
    decide_alike(moderator_client, prediction, "overturn")
    decided(other_client, second, "confirm", revision=stored(second).review_revision)
    page = decided(
        moderator_client, prediction, "undo", revision=stored(prediction).review_revision
    )

    assert shown(page) == prediction.pk
    assert "Undone for 1 look-alike too." in text(page)
    assert statuses(prediction, first, second) == [
        REVIEW.UNREVIEWED,
        REVIEW.UNREVIEWED,
        REVIEW.CONFIRMED,
    ]


def test_records_that_another_moderator_has_open_are_skipped(moderator_client, other_moderator):
    prediction, claimed = alike(), alike()
    claim(prediction=claimed, reviewer=other_moderator)
    page = decide_alike(moderator_client, prediction, "confirm")

    assert "with 0 look-alikes" in text(page)
    assert statuses(claimed) == [REVIEW.UNREVIEWED]


def test_a_session_of_an_earlier_version_has_no_look_alikes_to_undo(moderator_client):
    prediction = alike()
    decided(moderator_client, prediction, "confirm")
    session = moderator_client.session
    del session[KEY]["last"]["alike"]
    session.save()

    page = decided(moderator_client, prediction, "undo", revision=1)
    assert shown(page) == prediction.pk
