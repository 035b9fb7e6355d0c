from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from detection.models import Prediction, PredictionBatch
from detection.records import name_search, paging
from detection.records.batches import open_batch
from detection.records.paging import Cursor, newest_first, sent_between
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AGES = [0, 0, 0, 1 / 86400, 1 / 24, 1 / 24, 0.5, 16 / 24, 3, 40, 400, 4000]  # in days before noon


def all_pages(
    records, *, size: int, side: str = "older", cursor: Cursor | None = None, **options
) -> list:
    """Return the ids on each page, from the cursor to the end on that side."""
    pages = []
    while True:
        page = newest_first(records, size=size, cursor=cursor, **options)
        pages.append([record.pk for record in page.records])
        cursor = getattr(page, side)
        if cursor is None:
            return pages


@pytest.fixture
def expected() -> list[str]:
    made = [a_prediction(created_at=NOON - age * DAY, fake_score=age / 5000) for age in AGES]
    made.sort(key=lambda each: (each.created_at, each.pk), reverse=True)
    return [each.pk for each in made]


@pytest.mark.parametrize("size", [1, 2, 3, 11, 12, 50])
def test_pages_follow_each_other_without_gap(expected, size):
    pages = all_pages(Prediction.objects.all(), size=size)

    assert [pk for page in pages for pk in page] == expected
    assert {len(page) for page in pages[:-1]} <= {size}


def test_pages_lead_back_to_newer_ones(expected):
    end = Cursor("newer", "0" * 26)

    pages = all_pages(Prediction.objects.all(), size=4, side="newer", cursor=end)

    assert [pk for page in reversed(pages) for pk in page] == expected
    assert [len(page) for page in pages] == [4, 4, 4]


def test_a_rare_record_is_found_however_old_it_is(expected):
    old = Prediction.objects.filter(fake_score__gte=0.75)

    assert all_pages(old, size=50) == [[expected[-1]]]


@pytest.fixture
def three_read(monkeypatch) -> None:
    """A page is searched in three records, and no index finds a name."""
    monkeypatch.setattr(paging, "MAX_READ", 3)
    monkeypatch.setattr(name_search, "_few_with", lambda text: None)


@pytest.mark.usefixtures("three_read")
@pytest.mark.parametrize("side", ["older", "newer"])
def test_a_name_that_is_hard_to_find_is_searched_in_parts(side):
    named = {1: "beach.jpg", 10: "a beach.jpg"}
    made = [
        a_prediction(original_filename=named.get(hour, "x"), created_at=NOON - hour * DAY / 24)
        for hour in range(12)
    ]
    cursor = Cursor("newer", "0" * 26) if side == "newer" else None

    pages = all_pages(Prediction.objects.all(), size=5, side=side, cursor=cursor, name="beach")

    order = 1 if side == "older" else -1
    assert [pk for page in pages[::order] for pk in page] == [made[1].pk, made[10].pk]
    assert len(pages) == 4


@pytest.mark.usefixtures("three_read")
def test_a_search_that_has_to_end_says_how_far_it_went(client):
    made = [a_prediction(created_at=NOON - hour * DAY / 24) for hour in range(6)]

    page = client.get("/api/predictions/?search=nowhere").json()

    assert page["predictions"] == []
    assert datetime.fromisoformat(page["searched_to"]) == made[2].created_at
    assert client.get(page["next"]).json()["searched_to"] is None
    assert "Searched back to" in client.get("/history/?search=nowhere").content.decode()


@pytest.mark.usefixtures("three_read")
def test_a_page_that_is_full_needs_no_further_search():
    made = [a_prediction(created_at=NOON - hour * DAY / 24) for hour in range(6)]

    page = newest_first(Prediction.objects.all(), size=2, cursor=None, name="test")

    assert [each.pk for each in page.records] == [each.pk for each in made[:2]]
    assert page.searched_to is None


def test_records_between_two_moments_are_found_to_the_millisecond():
    millisecond = timedelta(milliseconds=1)
    moments = [NOON + number * millisecond for number in range(-500, 500)]
    store_predictions(unsaved_prediction(created_at=moment) for moment in moments)
    start, end = NOON - 123 * millisecond, NOON + 245 * millisecond

    for shift in (timedelta(), timedelta(microseconds=-1)):
        found = sent_between(Prediction.objects.all(), start=start + shift, end=end + shift)
        assert {*found.values_list("created_at", flat=True)} == {*moments[377:745]}


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_any_moment_can_be_a_bound(moment):
    record, moment = a_prediction(), moment.replace(tzinfo=UTC)
    expected = [record] if moment.year == 1 else []

    assert list(sent_between(Prediction.objects.all(), start=moment)) == expected
    assert list(sent_between(Prediction.objects.all(), end=moment)) == [record][len(expected) :]


def test_records_of_the_future_are_on_the_first_page():
    ahead = a_prediction(created_at=datetime(2100, 1, 1, tzinfo=UTC))

    assert all_pages(Prediction.objects.all(), size=5) == [[ahead.pk]]


def test_batches_have_pages_too():
    batches = [open_batch(total_images=1, source="scan").pk for _ in range(5)]

    pages = all_pages(PredictionBatch.objects.all(), size=2)

    assert sorted(pk for page in pages for pk in page) == sorted(batches)


def test_a_cursor_is_read_as_it_was_written():
    cursor = Cursor("older", "0" * 26)

    assert Cursor.read(str(cursor)) == cursor
    for text in ("", "2", "older", "older-X", f"beside-{'0' * 26}", f"older-{'Z' * 26}"):
        assert Cursor.read(text) is None
