"""Decisions on the review screen: stored, refused, and undone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import IntegrityError, OperationalError
from pymongo.errors import AutoReconnect

from detection.models import Prediction, now
from tests.support.factories import a_prediction
from tests.support.failures import raising
from tests.support.people import a_moderator
from tests.support.reviewing import NEXT, alerts, decided, shown, signed_in, stored, text, url

pytestmark = pytest.mark.django_db

REVIEW = Prediction.Review


def test_after_a_decision_the_next_one_opens(moderator, moderator_client):
    certain = a_prediction(fake_score=0.9)
    unsure = a_prediction(fake_score=0.52, original_filename="unsure.jpg")
    moderator_client.get(url(unsure))

    page = decided(moderator_client, unsure, "overturn", note="Real: I took it.")

    record = stored(unsure)
    assert (record.review_status, record.reviewer) == (REVIEW.OVERTURNED, moderator)
    assert (record.label_in_force, record.review_note) == ("REAL", "Real: I took it.")
    assert shown(page) == certain.pk
    assert "Overturned to REAL: unsure.jpg" in text(page)
    assert stored(certain).claimed_by == moderator
    page = decided(moderator_client, certain, "confirm")
    assert "The queue is empty" in text(page)
    assert "Confirmed as FAKE: test.jpg" in text(page)


def test_every_decision_is_in_the_log_of_the_admin(moderator, moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm", note="It has six fingers.")
    decided(moderator_client, prediction, "overturn", revision=1)
    decided(moderator_client, prediction, "undo", revision=2)
    decided(moderator_client, prediction, "skip", revision=3)

    entries = LogEntry.objects.order_by("action_time", "pk")
    said = [entry.get_change_message() for entry in entries]
    assert said == [
        "Confirmed: FAKE. It has six fingers.",
        "Overturned: REAL instead of FAKE.",
        "Undone: open again.",
    ]
    assert {(entry.user_id, entry.object_id) for entry in entries} == {
        (moderator.pk, prediction.pk)
    }


def test_two_moderators_get_different_records(moderator_client, other_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)

    assert shown(moderator_client.get(NEXT, follow=True)) == first.pk
    assert shown(other_client.get(NEXT, follow=True)) == second.pk
    assert "The queue is empty" in text(signed_in(a_moderator("cleo")).get(NEXT))


def test_a_record_of_another_moderator_is_shown_without_a_form(
    moderator, moderator_client, other_client
):
    prediction = a_prediction(review_note="Who knows this place?")
    moderator_client.get(url(prediction))

    page = other_client.get(url(prediction))

    assert page.status_code == 200
    assert alerts(page) == [f"{moderator} is looking at this prediction right now."]
    assert 'name="decision" value="confirm"' not in page.content.decode()
    assert "Who knows this place?" in text(page)
    assert stored(prediction).claimed_by == moderator


def test_a_stale_decision_is_refused_and_its_note_stays_in_the_form(
    moderator, moderator_client, other_client
):
    prediction = a_prediction()
    moderator_client.get(url(prediction))
    seen = stored(prediction).review_revision
    Prediction.objects.update(claimed_until=now() - timedelta(seconds=1))
    other_client.get(url(prediction))
    decided(other_client, prediction, "confirm", note="sure")

    page = decided(
        moderator_client, prediction, "overturn", note="I do not think so", revision=seen
    )

    assert page.status_code == 409
    assert alerts(page) == ["This prediction has been confirmed by bob meanwhile."]
    assert "I do not think so</textarea>" in page.content.decode()
    record = stored(prediction)
    assert (record.review_status, record.review_note) == (REVIEW.CONFIRMED, "sure")
    assert LogEntry.objects.count() == 1
    # The moderator has seen the new state, and may decide again.
    decided(moderator_client, prediction, "overturn")
    assert stored(prediction).reviewer == moderator


def test_a_decision_on_a_record_of_another_moderator_is_refused(
    moderator_client, other_client, other_moderator
):
    prediction = a_prediction()
    other_client.get(url(prediction))

    for decision in ("confirm", "overturn"):
        page = decided(moderator_client, prediction, decision)
        assert page.status_code == 409
        assert alerts(page) == ["bob is looking at this prediction right now."]
    page = decided(moderator_client, prediction, "skip", note="a remark")
    assert page.status_code == 409

    assert stored(prediction).claimed_by == other_moderator
    assert stored(prediction).review_note == ""


def test_a_deleted_record_is_reported_in_a_sentence(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    Prediction.objects.all().delete()

    page = decided(moderator_client, prediction, "undo", revision=1)

    assert page.status_code == 404
    assert "There is no such prediction" in text(page)
    assert "Confirmed as" not in text(page)
    assert moderator_client.get("/admin/review/nothing/").status_code == 404


def test_skipped_records_are_last_for_this_moderator(moderator_client, other_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)
    moderator_client.get(NEXT)

    page = decided(moderator_client, first, "skip", note="Who knows this place?")

    assert shown(page) == second.pk
    assert "Skipped test.jpg; it is still in the queue." in text(page)
    assert stored(first).review_status == REVIEW.UNREVIEWED
    page = other_client.get(NEXT, follow=True)
    assert shown(page) == first.pk
    assert "Who knows this place?" in text(page)
    decided(other_client, first, "skip", note="Who knows this place?")
    page = decided(moderator_client, second, "skip")
    assert "Review the skipped predictions" in text(page)
    assert shown(moderator_client.get(f"{NEXT}?again", follow=True)) == first.pk


def test_undo_reverts_the_last_decision_and_shows_its_record(moderator, moderator_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)
    page = decided(moderator_client, first, "confirm", note="hasty")
    seen = stored(first).review_revision
    assert f'name="revision" value="{seen}"' in page.content.decode()

    page = decided(moderator_client, first, "undo", revision=seen)

    assert shown(page) == first.pk
    assert "Undone; this prediction is open again." in text(page)
    assert "hasty</textarea>" in page.content.decode()
    assert "Confirmed as" not in text(page)
    assert (stored(first).review_status, stored(first).claimed_by) == ("unreviewed", moderator)
    # The next record is still reserved for this moderator.
    assert shown(decided(moderator_client, first, "overturn")) == second.pk


def test_undo_opens_a_record_that_was_decided_before(moderator_client, other_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm", note="mine")
    decided(other_client, prediction, "overturn", note="I doubt it")

    page = decided(other_client, prediction, "undo", revision=2)

    record = stored(prediction)
    assert shown(page) == prediction.pk
    assert (record.review_status, record.reviewer) == (REVIEW.UNREVIEWED, None)
    assert record.review_note == "I doubt it"
    last = LogEntry.objects.order_by("action_time", "pk").last()
    assert last.user.username == "bob"
    assert last.get_change_message() == "Undone: open again. I doubt it"


def test_any_decision_can_be_undone(moderator_client, other_client):
    prediction = a_prediction()
    decided(other_client, prediction, "confirm", note="first")

    decided(moderator_client, prediction, "undo")

    assert (stored(prediction).review_status, stored(prediction).reviewer) == ("unreviewed", None)
    assert stored(prediction).review_note == "first"


@pytest.mark.parametrize(
    "error",
    [OperationalError("gone"), AutoReconnect("gone"), IntegrityError("no such user")],
    ids=["sql", "mongodb", "refused"],
)
def test_a_decision_stands_if_the_log_cannot_be_written(
    moderator, moderator_client, monkeypatch, caplog, error
):
    prediction = a_prediction()

    monkeypatch.setattr(LogEntry.objects, "log_actions", raising(error))
    for decision, status, sentence in (
        ("confirm", REVIEW.CONFIRMED, "Confirmed: FAKE."),
        ("overturn", REVIEW.OVERTURNED, "Overturned: REAL instead of FAKE."),
        ("undo", REVIEW.UNREVIEWED, "Undone: open again."),
    ):
        caplog.clear()
        page = decided(moderator_client, prediction, decision)

        assert page.status_code == 200
        assert stored(prediction).review_status == status
        [record] = [each for each in caplog.records if each.name == "detection.admin.decision_log"]
        assert record.levelname == "ERROR"
        assert record.getMessage() == (
            f"The admin's log lacks the decision of mod on {prediction.pk}: {sentence}"
        )


def test_a_bug_in_the_logging_is_not_hidden(moderator_client, monkeypatch):
    monkeypatch.setattr(LogEntry.objects, "log_actions", raising(TypeError))
    with pytest.raises(TypeError):
        decided(moderator_client, a_prediction(), "confirm")


def test_a_stale_undo_is_refused(moderator_client, other_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    decided(other_client, prediction, "overturn", revision=1)

    page = decided(moderator_client, prediction, "undo", revision=1)

    assert page.status_code == 409
    assert alerts(page) == ["This prediction has been overturned by bob meanwhile."]
    assert stored(prediction).label_in_force == "REAL"
    assert "Confirmed as" not in text(moderator_client.get(NEXT))


def test_nothing_is_undone_twice(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    decided(moderator_client, prediction, "undo", revision=1)

    page = decided(moderator_client, prediction, "undo", revision=2)

    assert page.status_code == 409
    assert alerts(page) == ["This prediction has no decision that could be undone."]
