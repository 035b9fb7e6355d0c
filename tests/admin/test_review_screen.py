"""The review screen without a browser: its permissions and its content."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from detection.models import Prediction, now
from detection.records.duplicates import MAX_SAME
from tests.support.api import a_user
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.provenance import a_generated_record
from tests.support.reviewing import NEXT, alerts, decided, signed_in, stored, text, url

pytestmark = pytest.mark.django_db

REVIEW = Prediction.Review


def test_moderators_are_shown_the_least_certain(moderator, moderator_client):
    a_prediction(fake_score=0.9)
    unsure = a_prediction(fake_score=0.51, original_filename="unsure.jpg", uncertain=True)

    response = moderator_client.get(NEXT)
    assert (response.status_code, response["Location"]) == (302, url(unsure))
    page = text(moderator_client.get(url(unsure)))

    assert "unsure.jpg" in page
    assert "51.0 %" in page
    assert "FAKE above 50.0 %" in page
    assert "UNCERTAIN" in page
    assert "2 in the queue" in page
    assert stored(unsure).claimed_by == moderator


def test_the_screen_says_which_frame_was_judged(moderator_client):
    first = a_prediction(frames=12)
    best = a_prediction(frames=12, frame=7, judged_frames=12)

    assert "The first of 12 frames was judged." in text(moderator_client.get(url(first)))
    assert "Frame 7 of 12 had the highest score." in text(moderator_client.get(url(best)))
    assert "had the highest" not in text(moderator_client.get(url(a_prediction())))


def test_only_moderators_review(client, moderator_client):
    prediction = a_prediction()
    staff = signed_in(a_user("staff", is_staff=True))
    for method in ("get", "post"):
        for address in (NEXT, url(prediction)):
            refusal = getattr(staff, method)(address, {"decision": "confirm", "revision": 0})
            assert refusal.status_code == 403
            assert "Only moderators can review" in text(refusal)
            for outsider in (client, signed_in(User.objects.get_or_create(username="ann")[0])):
                refusal = getattr(outsider, method)(address)
                assert refusal.status_code == 302
                assert refusal["Location"].startswith("/admin/login/")

    assert stored(prediction).claimed_by is None
    assert stored(prediction).review_revision == 0
    assert moderator_client.get(url(prediction)).status_code == 200


def test_a_decision_needs_the_token_of_its_page(moderator):
    prediction = a_prediction()
    client = Client(enforce_csrf_checks=True)
    client.force_login(moderator)

    response = client.post(url(prediction), {"decision": "confirm", "revision": 0})

    assert response.status_code == 403
    assert stored(prediction).review_status == REVIEW.UNREVIEWED


def test_a_reviewed_record_names_reviewer_time_and_reason(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "overturn", note="Its shadows are right.")

    page = moderator_client.get(url(prediction))

    assert "Overturned by mod on" in text(page)
    assert "REAL is in force" in text(page)
    assert "Its shadows are right.</textarea>" in page.content.decode()
    assert "Reopen" in text(page)
    assert stored(prediction).claimed_by is None


def test_arrows_lead_through_the_visited_records(moderator_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)
    moderator_client.get(url(first))
    page = moderator_client.get(url(second)).content.decode()
    assert f'<a href="{url(first)}" rel="prev"' in page
    assert 'rel="next"' not in page

    page = moderator_client.get(url(first)).content.decode()

    assert f'<a href="{url(second)}" rel="next"' in page
    assert 'rel="prev"' not in page


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"decision": "delete", "revision": 0}, "Decision"),
        ({"revision": 0}, "Decision"),
        ({"decision": "confirm"}, "Revision"),
        ({"decision": "confirm", "revision": "x"}, "Revision"),
        ({"decision": "confirm", "revision": 10**30}, "Revision"),
        ({"decision": "confirm", "revision": 0, "note": "x" * 2001}, "Note"),
        ({"decision": "confirm", "revision": 0, "note": "a\0b"}, "Note"),
    ],
)
def test_an_invalid_form_is_refused(moderator_client, fields, word):
    prediction = a_prediction()

    page = moderator_client.post(url(prediction), fields)

    assert page.status_code == 400
    [alert] = alerts(page)
    assert alert.startswith(f"{word}: ")
    assert stored(prediction).review_status == REVIEW.UNREVIEWED


def test_a_line_end_in_a_note_is_one_character(moderator_client):
    prediction = a_prediction()

    decided(moderator_client, prediction, "confirm", note="\r\n".join(["x"] * 1000))

    assert stored(prediction).review_note == "\n".join(["x"] * 1000)


def test_names_and_notes_are_never_markup(moderator_client, other_client):
    evil = "<script>alert(1)</script>\"'.jpg"
    prediction = a_prediction(original_filename=evil, camera=evil, software=evil, sha256="e" * 64)
    a_prediction(original_filename=evil, sha256="e" * 64)
    reading = other_client.get(url(prediction))
    decided(other_client, prediction, "skip", note=f"</textarea>{evil}")

    pages = [
        reading,
        moderator_client.get(url(prediction)),
        other_client.get(url(prediction)),
        decided(moderator_client, prediction, "confirm", note=f"</textarea>{evil}"),
        moderator_client.get(url(prediction)),
    ]

    for page in pages:
        assert page.status_code == 200
        assert "&lt;script&gt;alert(1)" in page.content.decode()
        assert "<script>alert" not in page.content.decode()


def test_nothing_on_the_page_is_inline(moderator_client):
    body = moderator_client.get(url(a_prediction(uncertain=True))).content.decode()

    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", body)
    assert re.findall(r"<script(?![^>]*src=)", body) == []


def test_the_facts_about_the_file_are_shown(moderator_client):
    owner = a_user("reporter")
    prediction = a_prediction(
        owner=owner, camera="Canon EOS R6", software="GIMP 2.10", size_bytes=123456, sha256="b" * 64
    )

    page = text(moderator_client.get(url(prediction)))

    for words in (
        "64 × 48 pixels, 120.6 KB (123456 bytes)",
        "Camera Canon EOS R6",
        "GIMP 2.10 The file claims both; such claims are easily forged.",
        "b" * 64,
        "API, from reporter",
        "d3-test 1",
    ):
        assert words in page
    assert "easily forged" not in text(moderator_client.get(url(a_prediction())))


@pytest.mark.parametrize("image_format", ["HEIC", "TIFF"])
def test_an_original_that_browsers_do_not_show_can_be_downloaded(moderator_client, image_format):
    page = moderator_client.get(url(a_prediction(image_format=image_format)))

    assert f"Browsers do not show {image_format} files." in text(page)
    assert 'alt="The image as it was sent"' not in page.content.decode()


def test_an_original_that_was_not_stored_is_reported_in_a_sentence(moderator_client):
    page = moderator_client.get(url(a_prediction(original_image="")))

    assert "The original was not stored." in text(page)


def test_other_records_of_the_same_bytes_are_linked(moderator_client):
    same = [a_prediction(sha256="a" * 64, model_version=f"v{i}") for i in range(MAX_SAME + 2)]
    decided(moderator_client, same[5], "overturn")

    page = moderator_client.get(url(same[0]))

    links = re.findall(r'<li><a href="(/admin/review/[^"]+)"', page.content.decode())
    assert links == [url(each) for each in same[: -MAX_SAME - 1 : -1]]
    assert "overturned, model v5" in text(page)


def test_the_number_of_queries_does_not_grow_with_the_records(
    moderator_client, other_moderator, django_assert_max_num_queries
):
    prediction = a_prediction(
        owner=other_moderator,
        sha256="a" * 64,
        review_status=REVIEW.CONFIRMED,
        reviewer=other_moderator,
        reviewed_at=now(),
    )
    waiting = a_prediction(owner=other_moderator, sha256="a" * 64)
    store_predictions(
        unsaved_prediction(sha256="a" * 64, fake_score=0.6 + number / 100, reviewer=other_moderator)
        for number in range(30)
    )

    for address, most in ((url(prediction), 16), (url(waiting), 16), (NEXT, 13)):
        with django_assert_max_num_queries(most):
            moderator_client.get(address)


def test_a_long_queue_is_not_counted_to_its_end(moderator_client, monkeypatch):
    monkeypatch.setattr("detection.admin.review.MAX_COUNTED", 2)
    predictions = [a_prediction() for _ in range(3)]

    assert "More than 2 in the queue" in text(moderator_client.get(url(predictions[0])))


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_record_can_still_be_reviewed(moderator_client):
    prediction = a_prediction()

    assert moderator_client.get(url(prediction)).status_code == 200
    decided(moderator_client, prediction, "confirm")

    assert stored(prediction).review_status == REVIEW.CONFIRMED


def test_what_the_file_says_is_shown_beside_the_verdict(moderator_client):
    quiet, said = a_prediction(), a_generated_record()
    page = text(moderator_client.get(url(said)))
    assert "This file says that it was made with Midjourney." in page
    assert "The verdict and the file disagree." in page
    assert "Not signed: anybody can write or delete this." in page
    assert "A lighthouse at dusk --ar 3:2 --v 7" in page
    html = moderator_client.get(url(said)).content.decode()
    assert reverse("prediction-provenance", args=[said.pk]) in html
    assert "What the file says" not in text(moderator_client.get(url(quiet)))


def test_claims_are_escaped(moderator_client):
    evil = "<script>alert(1)</script>"
    words = dict.fromkeys(("says", "place", "generator", "version", "signer", "why"), evil)
    kind = {"kind": "generator", "declares": "generated", "trust": "invalid"}
    claim = words | kind | {"details": {"prompt": evil}}
    found = {"says": evil, "unread": [evil], "claims": [claim]}
    record = a_prediction(declares="generated", provenance=found)
    for address in (
        url(record),
        f"/history/{record.pk}/",
        f"/admin/detection/prediction/{record.pk}/change/",
    ):
        assert evil not in moderator_client.get(address).content.decode()
