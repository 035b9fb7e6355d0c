"""The review screen without a browser: who may, what is decided, what is refused and how."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pymongo.errors import AutoReconnect

from detection.models import Prediction, now
from detection.selectors import MOST_SAME
from tests.api import a_user
from tests.factories import a_prediction
from tests.people import a_moderator

pytestmark = pytest.mark.django_db

NEXT = "/admin/review/"
REVIEW = Prediction.Review


@pytest.fixture
def other(db) -> User:
    return a_moderator("bob")


@pytest.fixture
def other_client(other) -> Client:
    return signed_in(other)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(prediction: Prediction) -> str:
    return f"/admin/review/{prediction.pk}/"


def decided(
    client: Client, prediction: Prediction, decision: str, *, revision: int | None = None, **fields
):
    """The page after a decision on the record as it is now, or was at an older ``revision``."""
    if revision is None:
        revision = stored(prediction).review_revision
    return client.post(
        url(prediction), {"decision": decision, "revision": revision, **fields}, follow=True
    )


def text(response) -> str:
    """The words of the page, without tags."""
    body = re.sub(r"<(svg|style|script).*?</\1>", "", response.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def alerts(response) -> list[str]:
    return [
        unescape(sentence)
        for sentence in re.findall(r'role="alert">(.*?)</p>', response.content.decode())
    ]


def stored(prediction: Prediction) -> Prediction:
    return Prediction.objects.get(pk=prediction.pk)


def shown(response) -> str:
    """The id of the record that the page shows, after its redirects."""
    return response.request["PATH_INFO"].removeprefix(NEXT).rstrip("/")


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
    assert "2 are waiting" in page
    assert stored(unsure).claimed_by == moderator


def test_only_who_may_review_does(client, moderator_client):
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


def test_moderators_can_review_and_nothing_else(moderator_client):
    prediction = a_prediction()

    for path in (
        f"detection/prediction/{prediction.pk}/delete/",
        "auth/user/",
        "detection/accesstoken/",
    ):
        assert moderator_client.get(f"/admin/{path}").status_code == 403
    assert moderator_client.get("/admin/detection/prediction/").status_code == 200


def test_a_decision_needs_the_token_of_its_page(moderator):
    prediction = a_prediction()
    client = Client(enforce_csrf_checks=True)
    client.force_login(moderator)

    response = client.post(url(prediction), {"decision": "confirm", "revision": 0})

    assert response.status_code == 403
    assert stored(prediction).review_status == REVIEW.UNREVIEWED


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
    assert "Nothing is waiting" in text(page)
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
        "Took the decision back.",
    ]
    assert {(entry.user_id, entry.object_id) for entry in entries} == {
        (moderator.pk, prediction.pk)
    }


def test_two_moderators_are_given_different_records(moderator_client, other_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)

    assert shown(moderator_client.get(NEXT, follow=True)) == first.pk
    assert shown(other_client.get(NEXT, follow=True)) == second.pk
    assert "Nothing is waiting" in text(signed_in(a_moderator("cleo")).get(NEXT))


def test_what_another_one_has_is_shown_without_a_form(moderator, moderator_client, other_client):
    prediction = a_prediction(review_note="Who knows this place?")
    moderator_client.get(url(prediction))

    page = other_client.get(url(prediction))

    assert page.status_code == 200
    assert alerts(page) == [f"{moderator} is looking at this prediction right now."]
    assert 'name="decision" value="confirm"' not in page.content.decode()
    assert "Who knows this place?" in text(page)
    assert stored(prediction).claimed_by == moderator


def test_a_stale_decision_is_refused_and_what_was_written_stays(
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
    assert (stored(prediction).review_status, stored(prediction).review_note) == (
        REVIEW.CONFIRMED,
        "sure",
    )
    assert LogEntry.objects.count() == 1
    # Having seen it, they may decide anew.
    decided(moderator_client, prediction, "overturn")
    assert stored(prediction).reviewer == moderator


def test_a_decision_on_what_another_one_has_is_refused(moderator_client, other_client, other):
    prediction = a_prediction()
    other_client.get(url(prediction))

    for decision in ("confirm", "overturn"):
        page = decided(moderator_client, prediction, decision)
        assert page.status_code == 409
        assert alerts(page) == ["bob is looking at this prediction right now."]
    page = decided(moderator_client, prediction, "skip", note="a remark")
    assert page.status_code == 409

    assert stored(prediction).claimed_by == other
    assert stored(prediction).review_note == ""


def test_a_record_that_is_gone_is_a_sentence(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    Prediction.objects.all().delete()

    page = decided(moderator_client, prediction, "undo", revision=1)

    assert page.status_code == 404
    assert "There is no such prediction" in text(page)
    assert "Confirmed as" not in text(page)
    assert moderator_client.get("/admin/review/nothing/").status_code == 404


def test_skipped_ones_come_last_for_this_moderator(moderator_client, other_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)
    moderator_client.get(NEXT)

    page = decided(moderator_client, first, "skip", note="Who knows this place?")

    assert shown(page) == second.pk
    assert "Skipped test.jpg; it still waits." in text(page)
    assert stored(first).review_status == REVIEW.UNREVIEWED
    page = other_client.get(NEXT, follow=True)
    assert shown(page) == first.pk
    assert "Who knows this place?" in text(page)
    decided(other_client, first, "skip", note="Who knows this place?")
    page = decided(moderator_client, second, "skip")
    assert "Go through those that you skipped" in text(page)
    assert shown(moderator_client.get(f"{NEXT}?again", follow=True)) == first.pk


def test_undo_takes_the_last_decision_back_and_opens_it_again(moderator, moderator_client):
    first, second = a_prediction(fake_score=0.5), a_prediction(fake_score=0.6)
    page = decided(moderator_client, first, "confirm", note="hasty")
    seen = stored(first).review_revision
    assert f'name="revision" value="{seen}"' in page.content.decode()

    page = decided(moderator_client, first, "undo", revision=seen)

    assert shown(page) == first.pk
    assert "Taken back; decide again." in text(page)
    assert "hasty</textarea>" in page.content.decode()
    assert "Confirmed as" not in text(page)
    assert (stored(first).review_status, stored(first).claimed_by) == ("unreviewed", moderator)
    # The next one is still theirs.
    assert shown(decided(moderator_client, first, "overturn")) == second.pk


def test_undo_restores_the_decision_of_another_one(
    moderator, moderator_client, other_client, client
):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm", note="mine")
    before = stored(prediction)
    decided(other_client, prediction, "overturn")

    page = decided(other_client, prediction, "undo", revision=2)

    record = stored(prediction)
    assert (record.review_status, record.reviewer) == (REVIEW.CONFIRMED, moderator)
    assert (record.review_note, record.reviewed_at) == ("mine", before.reviewed_at)
    assert shown(page) == prediction.pk
    assert "Taken back; what was decided before is in force again." in text(page)
    assert "Confirmed by mod on" in text(page)
    last = LogEntry.objects.order_by("action_time", "pk").last()
    assert (last.user.username, last.get_change_message()) == ("bob", "Took the decision back.")
    # That was one decision; nothing more is remembered.
    decided(other_client, prediction, "undo")
    assert (stored(prediction).review_status, stored(prediction).review_note) == (
        REVIEW.UNREVIEWED,
        "mine",
    )


def test_undo_of_a_change_of_mind_restores_the_first_decision(moderator, moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm", note="first")
    decided(moderator_client, prediction, "overturn", note="second")

    decided(moderator_client, prediction, "undo")

    record = stored(prediction)
    assert (record.review_status, record.review_note) == (REVIEW.CONFIRMED, "first")
    assert record.reviewer == moderator


def test_who_remembers_another_decision_only_opens_the_record(moderator_client, other_client):
    prediction = a_prediction()
    decided(other_client, prediction, "confirm", note="first")
    decided(moderator_client, prediction, "overturn", note="second")
    decided(other_client, prediction, "confirm", note="third")

    decided(moderator_client, prediction, "undo")

    assert (stored(prediction).review_status, stored(prediction).reviewer) == ("unreviewed", None)
    assert stored(prediction).review_note == "third"


def test_a_session_of_an_older_version_can_still_undo(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    session = moderator_client.session
    last = {"pk": prediction.pk, "revision": 1, "words": "Confirmed as FAKE: test.jpg"}
    session["review"] = {"visited": [], "skipped": [], "last": last}
    session.save()

    decided(moderator_client, prediction, "undo")

    assert stored(prediction).review_status == REVIEW.UNREVIEWED


@pytest.mark.parametrize(
    "error",
    [OperationalError("gone"), AutoReconnect("gone"), IntegrityError("no such user")],
    ids=["sql", "mongodb", "refused"],
)
def test_a_decision_without_its_line_in_the_log_stands(
    moderator, moderator_client, monkeypatch, caplog, error
):
    prediction = a_prediction()

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(LogEntry.objects, "log_actions", fail)
    for decision, status in (
        ("confirm", REVIEW.CONFIRMED),
        ("overturn", REVIEW.OVERTURNED),
        ("undo", REVIEW.CONFIRMED),
    ):
        caplog.clear()
        page = decided(moderator_client, prediction, decision)

        assert page.status_code == 200
        assert stored(prediction).review_status == status
        [record] = [each for each in caplog.records if each.name == "detection.admin.decisions"]
        assert record.levelname == "ERROR"
        sentence = {
            "confirm": "Confirmed: FAKE.",
            "overturn": "Overturned: REAL instead of FAKE.",
            "undo": "Took the decision back.",
        }[decision]
        assert record.getMessage() == (
            f"The admin's log lacks what mod decided on {prediction.pk}: {sentence}"
        )


def test_an_error_of_ours_in_the_log_is_not_hidden(moderator_client, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise TypeError

    monkeypatch.setattr(LogEntry.objects, "log_actions", fail)
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


def test_nothing_is_taken_back_twice(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "confirm")
    decided(moderator_client, prediction, "undo", revision=1)

    page = decided(moderator_client, prediction, "undo", revision=2)

    assert page.status_code == 409
    assert alerts(page) == ["There is no decision to take back any more."]


def test_a_reviewed_record_says_who_when_and_why(moderator_client):
    prediction = a_prediction()
    decided(moderator_client, prediction, "overturn", note="Its shadows are right.")

    page = moderator_client.get(url(prediction))

    assert "Overturned by mod on" in text(page)
    assert "REAL is in force" in text(page)
    assert "Its shadows are right.</textarea>" in page.content.decode()
    assert "Take back" in text(page)
    assert stored(prediction).claimed_by is None


def test_arrows_walk_through_what_was_looked_at(moderator_client):
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
def test_a_form_that_is_not_understood_is_refused(moderator_client, fields, word):
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


def test_the_file_speaks_for_itself(moderator_client):
    owner = a_user("reporter")
    prediction = a_prediction(
        owner=owner, camera="Canon EOS R6", software="GIMP 2.10", size_bytes=123456, sha256="b" * 64
    )

    page = text(moderator_client.get(url(prediction)))

    for words in (
        "64 × 48 pixels, 120.6\xa0KB (123456 bytes)".replace("\xa0", " "),
        "Camera Canon EOS R6",
        "GIMP 2.10 Both as the file claims; easily forged.",
        "b" * 64,
        "API, from reporter",
        "d3-test 1",
    ):
        assert words in page
    assert "easily forged" not in text(moderator_client.get(url(a_prediction())))


@pytest.mark.parametrize("image_format", ["HEIC", "TIFF"])
def test_what_browsers_do_not_show_can_be_downloaded(moderator_client, image_format):
    page = moderator_client.get(url(a_prediction(image_format=image_format)))

    assert f"Browsers do not show {image_format} files." in text(page)
    assert 'alt="The image as it was sent"' not in page.content.decode()


def test_an_original_that_was_not_kept_is_a_sentence(moderator_client):
    page = moderator_client.get(url(a_prediction(original_image="")))

    assert "The original was not kept." in text(page)


def test_other_records_of_the_same_bytes_are_linked(moderator_client):
    same = [a_prediction(sha256="a" * 64, model_version=f"v{i}") for i in range(MOST_SAME + 2)]
    decided(moderator_client, same[5], "overturn")

    page = moderator_client.get(url(same[0]))

    links = re.findall(r'<li><a href="(/admin/review/[^"]+)"', page.content.decode())
    assert links == [url(each) for each in same[: -MOST_SAME - 1 : -1]]
    assert "overturned, model v5" in text(page)


def test_a_page_takes_few_queries_however_much_there_is(moderator_client, other):
    prediction = a_prediction(
        owner=other, sha256="a" * 64, review_status=REVIEW.CONFIRMED, reviewer=other,
        reviewed_at=now(),
    )  # fmt: skip
    waiting = a_prediction(owner=other, sha256="a" * 64)
    for number in range(30):
        a_prediction(sha256="a" * 64, fake_score=0.6 + number / 100, reviewer=other)

    for address, most in ((url(prediction), 14), (url(waiting), 14), (NEXT, 11)):
        with CaptureQueriesContext(connection) as queries:
            moderator_client.get(address)
        assert len(queries) <= most, [each["sql"][:120] for each in queries]


def test_a_long_queue_is_not_counted_to_its_end(moderator_client, monkeypatch):
    monkeypatch.setattr("detection.admin.review.MOST_COUNTED", 2)
    predictions = [a_prediction() for _ in range(3)]

    assert "More than 2 are waiting" in text(moderator_client.get(url(predictions[0])))


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_a_record_can_still_be_reviewed(moderator_client):
    prediction = a_prediction()

    assert moderator_client.get(url(prediction)).status_code == 200
    decided(moderator_client, prediction, "confirm")

    assert stored(prediction).review_status == REVIEW.CONFIRMED


def test_after_an_overturn_the_api_says_so(moderator, moderator_client, client):
    prediction = a_prediction()
    before = client.get(f"/api/predictions/{prediction.pk}/").json()

    decided(moderator_client, prediction, "overturn", note="Its shadows are right.")

    after = client.get(f"/api/predictions/{prediction.pk}/").json()
    reviewed_at = after["timestamps"]["updated_at"]
    assert after["review"] == {
        "status": "overturned",
        "label": "REAL",
        "reviewer": moderator.username,
        "reviewed_at": reviewed_at,
        "note": "Its shadows are right.",
    }
    assert after["prediction"] == before["prediction"]
    assert reviewed_at > before["timestamps"]["updated_at"]
