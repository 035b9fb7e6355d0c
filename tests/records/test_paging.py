from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace

import pytest

from detection.models import Prediction, PredictionBatch, now
from detection.records import paging
from detection.records.batches import open_batch
from detection.records.paging import Cursor, newest_first
from tests.support.factories import a_prediction

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AGES = [0, 0, 0, 1 / 86400, 1 / 24, 1 / 24, 0.5, 16 / 24, 3, 40, 400, 4000]  # in days before noon


def all_pages(records, *, size: int, side: str = "older", cursor: Cursor | None = None) -> list:
    """The ids on each page, from the cursor to the end on that side."""
    pages = []
    while True:
        page = newest_first(records, size=size, cursor=cursor)
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


def test_pages_lead_back(expected):
    end = Cursor("newer", NOON - 5000 * DAY, "0" * 26)

    pages = all_pages(Prediction.objects.all(), size=4, side="newer", cursor=end)

    assert [pk for page in reversed(pages) for pk in page] == expected
    assert [len(page) for page in pages] == [4, 4, 4]


def test_a_rare_record_is_found_however_old_it_is(expected):
    old = Prediction.objects.filter(fake_score__gte=0.75)

    assert all_pages(old, size=50) == [[expected[-1]]]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_dense_records_behind_a_gap_are_all_found(size):
    """Several an hour, the newest of them a month ago, and some at the ends of parts."""
    month_ago = now() - 30 * DAY
    ages = [number / 96 for number in range(20)] + [1 / 24, 16 / 24, 17 / 24]
    made = [a_prediction(created_at=month_ago - age * DAY) for age in ages]
    made.sort(key=lambda each: (each.created_at, each.pk), reverse=True)
    own_label = Prediction.objects.filter(label=made[0].label)

    for records in (Prediction.objects.all(), own_label):
        pages = all_pages(records, size=size)
        assert [pk for page in pages for pk in page] == [each.pk for each in made]


def test_looking_starts_at_the_end_of_the_time_that_is_asked_for(expected, monkeypatch):
    """It is given up after the first part, which is an hour."""
    monkeypatch.setattr(paging, "QUICK_SECONDS", -1)
    monkeypatch.setattr(paging, "LONGEST_SECONDS", 0)

    page = newest_first(Prediction.objects.filter(created_at__lt=NOON), size=1, cursor=None)

    assert [each.pk for each in page.records] == [expected[3]]
    assert page.searched_to == NOON - timedelta(hours=1)


@pytest.mark.parametrize("side", ["older", "newer"])
def test_what_takes_long_to_find_is_looked_for_in_parts(expected, side, monkeypatch):
    """Each question is slow, and each page is given up after the first one, but for the last."""
    monkeypatch.setattr(paging, "QUICK_SECONDS", -1)
    monkeypatch.setattr(paging, "LONGEST_SECONDS", 0)
    cursor = Cursor("newer", NOON - 5 * DAY, "0" * 26) if side == "newer" else None
    wanted = expected[:9] if side == "newer" else expected

    page = newest_first(Prediction.objects.all(), size=50, cursor=cursor)
    seen = []
    while next_cursor := getattr(page, side):
        seen.append(page.records)
        monkeypatch.setattr(paging, "FIRST_SPAN", 2 * paging.FIRST_SPAN)
        if paging.FIRST_SPAN > paging.LAST_SPAN:
            monkeypatch.setattr(paging, "QUICK_SECONDS", 60)
        page = newest_first(Prediction.objects.all(), size=50, cursor=next_cursor)
    seen = [*seen, page.records][:: -1 if side == "newer" else 1]

    assert [each.pk for records in seen for each in records] == wanted


def test_a_page_that_was_given_up_says_how_far_it_looked(client, expected, monkeypatch):
    monkeypatch.setattr(paging, "QUICK_SECONDS", -1)
    monkeypatch.setattr(paging, "LONGEST_SECONDS", 0)

    page = client.get("/api/predictions/?search=nowhere").json()

    assert page["predictions"] == []
    assert page["searched_to"] < f"{now():%Y-%m-%dT%H}"
    assert client.get(page["next"]).json()["searched_to"] < page["searched_to"]
    assert "Searched as far as" in client.get("/history/?search=nowhere").content.decode()


def test_a_database_that_is_far_away_is_asked_to_the_end(monkeypatch):
    """Each question takes a fifth of a second, however little it is about."""
    ticks = count(step=0.2)
    monkeypatch.setattr(paging, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert newest_first(Prediction.objects.all(), size=5, cursor=None).searched_to is None

    old = a_prediction(created_at=NOON - 3000 * DAY)
    page = newest_first(Prediction.objects.all(), size=5, cursor=None)
    assert ([each.pk for each in page.records], page.older) == ([old.pk], None)


def test_looking_ends_where_no_records_can_be(monkeypatch):
    """Also where every question is slow, as no index helps."""
    monkeypatch.setattr(paging, "QUICK_SECONDS", -1)
    monkeypatch.setattr(paging, "LONGEST_SECONDS", 10**6)
    page = newest_first(Prediction.objects.all(), size=5, cursor=None)

    assert (page.records, page.searched_to) == ([], None)


def test_records_of_the_future_are_on_the_first_page():
    ahead = a_prediction(created_at=datetime(2100, 1, 1, tzinfo=UTC))

    assert all_pages(Prediction.objects.all(), size=5) == [[ahead.pk]]


def test_no_records_are_one_empty_page():
    page = newest_first(Prediction.objects.all(), size=5, cursor=None)

    assert (page.records, page.older, page.newer) == ([], None, None)


def test_batches_have_pages_too():
    batches = [open_batch(total_images=1, source="scan").pk for _ in range(5)]

    pages = all_pages(PredictionBatch.objects.all(), size=2)

    assert sorted(pk for page in pages for pk in page) == sorted(batches)


def test_a_cursor_is_read_as_it_was_written():
    cursor = Cursor("older", NOON, "0" * 26)

    assert Cursor.read(str(cursor)) == cursor
    for text in ("", "2", "older", "older-1-X", f"beside-1-{'0' * 26}", f"older-x-{'0' * 26}"):
        assert Cursor.read(text) is None
