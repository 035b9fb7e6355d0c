"""The history and the page of one record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from detection.judging.active_detector import get_detector
from detection.models import Prediction, now
from detection.pages.history import PAGE_SIZE
from tests.support.api import a_user
from tests.support.factories import a_pictured_prediction, a_prediction, scene
from tests.support.pages import Page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

Review = Prediction.Review


def shown(client, path: str, status: int = 200) -> Page:
    response = client.get(path)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    return Page(response.content.decode())


def names(page: Page) -> list[str]:
    """Return the file names on a page of the history."""
    return [word.removesuffix(".jpg") for word in page.text.split() if word.endswith(".jpg")]


def link(page: Page, words: str) -> str | None:
    return next((each["href"] for each in page.all("a") if each.get("rel") == words), None)


def a_record(name: str, **fields) -> Prediction:
    return a_prediction(original_filename=f"{name}.jpg", **fields)


def page_of(record: Prediction) -> str:
    return f"/history/{record.pk}/"


def test_an_empty_history_says_so(client):
    assert "No image has been judged yet" in shown(client, "/history/").text
    assert "No prediction matches" in shown(client, "/history/?search=x").text


def test_the_newest_records_are_first_with_links_to_their_pages(client):
    start = now()
    records = [
        a_record(name, created_at=start + timedelta(seconds=second))
        for second, name in enumerate(("old", "middle", "new"))
    ]

    page = shown(client, "/history/")

    assert names(page) == ["new", "middle", "old"]
    hrefs = [each["href"] for each in page.all("a")]
    assert all(page_of(record) in hrefs for record in records)


def test_a_long_history_has_pages(client):
    start = now()
    everything = [f"n{number}" for number in range(PAGE_SIZE + 5)]
    for number, name in enumerate(everything):
        a_record(name, created_at=start - timedelta(seconds=number))
    a_record("another", created_at=start)

    first = shown(client, "/history/?search=n&verdict=FAKE&search_by=somebody")
    assert len(names(first)) == PAGE_SIZE
    assert link(first, "prev") is None
    second = shown(client, link(first, "next"))
    assert sorted(names(first) + names(second)) == sorted(["another", *everything])
    assert link(second, "next") is None
    assert names(shown(client, link(second, "prev"))) == names(first)

    filtered = shown(client, "/history/?search=n1")
    assert set(names(filtered)) == {name for name in everything if "n1" in name}


def test_it_is_filtered_by_the_verdict_in_force(client):
    a_record("fake", fake_score=0.9)
    a_record("real", fake_score=0.1)
    a_record("fake-uncertain", fake_score=0.6, uncertain=True)
    a_record("fake-confirmed", fake_score=0.6, uncertain=True, review_status=Review.CONFIRMED)
    a_record("fake-overturned", fake_score=0.9, review_status=Review.OVERTURNED)
    a_record("real-overturned", fake_score=0.4, uncertain=True, review_status=Review.OVERTURNED)

    def found(verdict: str) -> set[str]:
        return set(names(shown(client, f"/history/?verdict={verdict}")))

    assert found("FAKE") == {"fake", "fake-confirmed", "real-overturned"}
    assert found("REAL") == {"real", "fake-overturned"}
    assert found("UNCERTAIN") == {"fake-uncertain"}
    assert len(found("")) == 6


@pytest.mark.parametrize("query", ["verdict=PERHAPS", "cursor=x", "search=a&search=b"])
def test_an_invalid_query_is_answered_with_a_page(client, query):
    assert "The request was refused" in shown(client, f"/history/?{query}", 400).text


def test_users_see_their_own_records(client, settings):
    ann, bob = a_user("ann"), a_user("bob")
    of_ann, of_bob = a_record("of-ann", owner=ann), a_record("of-bob", owner=bob)
    assert set(names(shown(client, "/history/"))) == {"of-ann", "of-bob"}

    settings.API_ACCESS = "token"
    client.force_login(ann)

    assert names(shown(client, "/history/")) == ["of-ann"]
    shown(client, page_of(of_ann))
    shown(client, page_of(of_bob), 404)
    client.force_login(a_user("staff", is_staff=True))
    shown(client, page_of(of_bob))


@pytest.mark.parametrize("pk", ["01M84Q580AZZY3CNE3Y34WJ3B2", "nothing", "%00", "%F0%9F%92%A5"])
def test_a_missing_record_is_reported_on_a_page(client, pk):
    page = shown(client, f"/history/{pk}/", 404)

    assert "There is nothing at this address." in page.text


def test_the_page_of_a_record_has_its_facts(client):
    record = a_record(
        "holiday", camera="Acme 1", software="Editor 2", sha256="ab" * 32, width=640, height=480
    )

    page = shown(client, page_of(record))

    for words in ("holiday.jpg", "Acme 1", "Editor 2", "ab" * 32, "640 × 480", record.pk):
        assert words in page.text
    [button] = [each for each in page.all("button") if "data-src" in each]
    assert button["data-src"] == f"/api/predictions/{record.pk}/heatmap"
    assert button["aria-pressed"] == "false"


@pytest.mark.parametrize(
    ("fields", "words", "badge"),
    [
        ({"fake_score": 0.9}, "Probably made by a generator", "FAKE"),
        ({"fake_score": 0.1}, "Probably a real photograph", "REAL"),
        ({"fake_score": 0.6, "uncertain": True}, "Not certain: a person should check", "UNCERTAIN"),
    ],
)
def test_the_verdict_is_in_words(client, fields, words, badge):
    page = shown(client, page_of(a_record("one", **fields)))

    assert f"{words} {badge}" in page.text


def test_the_reviewers_label_is_in_force_beside_the_models(client):
    record = a_record(
        "one",
        fake_score=0.9,
        review_status=Review.OVERTURNED,
        reviewer=a_user("rita"),
        reviewed_at=now(),
        review_note="Taken by our own photographer.",
    )

    page = shown(client, page_of(record))

    assert "A real photograph, says a reviewer REAL the model said FAKE" in page.text
    assert "Overturned: REAL is in force; the model said FAKE" in page.text
    assert "rita" in page.text
    assert "Taken by our own photographer." in page.text
    assert "90.0 % fake score" in page.text


def test_the_history_says_what_a_file_declares(client):
    a_record("silent")
    assert "the file says" not in shown(client, "/history/").text

    a_record("painted", declares=Prediction.Declares.GENERATED)
    assert "the file says: generated" in shown(client, "/history/").text


def scale(page: Page) -> str:
    labels = (each["aria-label"] for each in page.all("svg") if each.get("role") == "img")
    return next(labels).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def uncertain_model(monkeypatch):
    """The model of the process, with an uncertain zone."""
    detector = get_detector()
    monkeypatch.setattr(detector, "info", replace(detector.info, uncertain=(0.42, 0.7)))


@pytest.mark.usefixtures("uncertain_model")
def test_the_scale_shows_the_uncertain_zone_of_the_model_that_judged(client):
    info = get_detector().info
    ours = {"model_version": info.version, "fake_score": 0.876}

    words = scale(shown(client, page_of(a_record("one", threshold=0.5, **ours))))
    assert words == (
        "Fake score 87.6 %. Scores above 50.0 % are labelled FAKE; "
        "scores between 42.0 % and 70.0 % are uncertain."
    )
    widened = scale(shown(client, page_of(a_record("one", threshold=0.95, **ours))))
    assert "between 42.0 % and 95.0 % are uncertain" in widened
    old = scale(shown(client, page_of(a_record("one", model_version="1", fake_score=0.876))))
    assert old == "Fake score 87.6 %. Scores above 50.0 % are labelled FAKE."


def test_a_zone_without_width_is_not_shown(client):
    info = get_detector().info
    record = a_record("one", model_version=info.version, threshold=info.uncertain[0])

    assert info.uncertain[0] == info.uncertain[1]
    assert "uncertain" not in scale(shown(client, page_of(record)))


def test_the_marks_of_the_scale_are_where_the_numbers_say(client):
    page = shown(client, page_of(a_record("one", fake_score=0.876, threshold=0.25)))

    places = {each.get("class"): each.get("x") for each in page.all("svg") + page.all("rect")}
    assert places["marker"] == "87.60%"
    assert places["threshold"] == places["track-fake"] == "25.00%"


def test_without_database_it_says_so(transactional_db, client, request):
    client.force_login(a_user())
    request.getfixturevalue("lost_database")

    for path in ("/history/", "/history/01M84Q580AZZY3CNE3Y34WJ3B2/"):
        assert "database cannot be reached" in shown(client, path, 503).text


def test_a_missing_detector_does_not_hide_the_history(client, monkeypatch, settings):
    record = a_record("one")
    monkeypatch.setattr("detection.judging.active_detector._active._detector", None)
    settings.MODEL_CHECKPOINT_PATH = settings.BASE_DIR / "nothing.safetensors"

    assert "Model" not in shown(client, "/history/").text
    assert "are labelled FAKE" in scale(shown(client, page_of(record)))


def test_a_page_whose_records_were_deleted_links_back(client):
    page = shown(client, "/history/?cursor=older-01M84Q580AZZY3CNE3Y34WJ3B2")

    assert "This page is empty now. Show the newest" in page.text
    assert "No image has been judged yet" not in page.text


@pytest.mark.parametrize(
    ("reason", "words"),
    [("too_small", "the image is too small"), ("no_content", "there is nothing in the image")],
)
def test_the_page_says_why_an_image_cannot_be_judged(client, reason, words):
    record = a_record("tiny", uncertain=True, reason=reason)

    text = shown(client, page_of(record)).text

    assert f"Not certain: {words}" in text
    assert "pixels is missing" not in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frames": 12}, "The first of 12 frames was judged."),
        ({"frames": 12, "image_format": "TIFF"}, "The first of 12 pages was judged."),
        ({"frames": 12, "frame": 7, "judged_frames": 12}, "Frame 7 of 12 had the highest score."),
        (
            {"frames": 100, "frame": 7, "judged_frames": 32},
            "Frame 7 of 100 had the highest score of the 32 that were judged.",
        ),
    ],
)
def test_the_page_says_which_frame_was_judged(client, fields, words):
    record = a_record("animation", **{"image_format": "GIF"} | fields)

    assert words in shown(client, page_of(record)).text


def test_the_page_of_a_picture_does_not_mention_frames(client):
    text = shown(client, page_of(a_record("still"))).text

    assert " frame" not in text.lower()


def test_the_page_says_that_pixels_are_missing(client):
    record = a_record("cut", damaged=True)

    assert "A small part of the pixels is missing" in shown(client, page_of(record)).text


def test_the_page_of_a_record_links_to_the_review_of_a_similar_picture(client):
    picture, decided = scene(seed=1), now()
    record = a_pictured_prediction(picture)
    assert "A picture like this" not in shown(client, page_of(record)).text

    a_pictured_prediction(picture)
    reviewed = a_pictured_prediction(
        picture.crop((0, 0, 304, 228)),
        fake_score=0.1,
        review_status=Review.OVERTURNED,
        reviewed_at=decided,
    )
    page = shown(client, page_of(record))
    day = f"{decided.day} {decided:%B %Y}"
    assert f"A picture like this was reviewed on {day} as FAKE." in page.text
    assert page_of(reviewed) in [each["href"] for each in page.all("a")]
