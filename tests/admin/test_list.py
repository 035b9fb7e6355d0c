"""The list of predictions in the admin: what it shows and finds, and what that costs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from detection.models import now
from detection.records.batches import open_batch
from detection.records.duplicates import MAX_SAME
from detection.records.paging import MAX_READ
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.people import a_moderator
from tests.support.queries import queries_of
from tests.support.settings import ON_SERVERS

pytestmark = pytest.mark.django_db

URL = "/admin/detection/prediction/"
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MAX_QUERIES = 6  # one of them asks the index of file names


def page_of(client, query: str | dict = "") -> str:
    """Return the page of a valid query. An invalid one would be redirected to the whole list."""
    response = client.get(f"{URL}{query}") if isinstance(query, str) else client.get(URL, query)
    assert response.status_code == 200, response.headers
    return response.content.decode()


def names(client, query: str | dict = "") -> list[str]:
    pattern = r'field-file_name"><a [^>]*>([^<]*)</a>'
    return re.findall(pattern, page_of(client, query))


FIRST, SECOND, THIRD = "Holiday.jpg", "holiday 2.png", "a.*(b.jpg"


@pytest.fixture
def three_records() -> list:
    return [
        a_prediction(
            original_filename=FIRST,
            fake_score=0.1,
            source="page",
            sha256="ab" * 32,
            created_at=NOON - 2 * DAY,
        ),
        a_prediction(
            original_filename=SECOND,
            fake_score=0.45,
            declares="generated",
            uncertain=True,
            review_status="confirmed",
            model_version="2",
            created_at=NOON - DAY,
        ),
        a_prediction(
            original_filename=THIRD,
            fake_score=0.9,
            review_status="overturned",
            source="scan",
            created_at=NOON,
        ),
    ]


@pytest.mark.usefixtures("three_records")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [THIRD, SECOND, FIRST]),
        ({"label__exact": "FAKE"}, [THIRD]),
        ({"label__exact": "REAL"}, [SECOND, FIRST]),
        ({"uncertain__exact": "1"}, [SECOND]),
        ({"review_status__exact": "unreviewed"}, [FIRST]),
        ({"source__exact": "page"}, [FIRST]),
        ({"declares__exact": "generated"}, [SECOND]),
        ({"declares__exact": "captured"}, []),
        ({"model_version": "2"}, [SECOND]),
        ({"min_score": "45"}, [THIRD, SECOND]),
        ({"max_score": "45"}, [SECOND, FIRST]),
        ({"min_score": "20", "max_score": "80"}, [SECOND]),
        ({"from": "2026-03-04"}, [THIRD, SECOND]),
        ({"to": "2026-03-04"}, [SECOND, FIRST]),
        ({"from": "2026-03-04", "to": "2026-03-04"}, [SECOND]),
        ({"from": "", "to": "", "min_score": "", "model_version": ""}, [THIRD, SECOND, FIRST]),
        ({"q": "HOLIDAY"}, [SECOND, FIRST]),
        ({"q": "a.*(b"}, [THIRD]),
        ({"q": "AB" * 32}, [FIRST]),
        ({"q": "ab" * 16}, []),
        ({"q": "jpg", "label__exact": "FAKE", "to": "2026-03-05"}, [THIRD]),
    ],
)
def test_the_list_is_filtered_and_searched(admin_client, query, expected):
    assert names(admin_client, query) == expected


def test_an_id_is_found_in_any_case(admin_client, three_records):
    wanted = three_records[1]

    for term in (wanted.pk, f" {wanted.pk.lower()} "):
        assert names(admin_client, {"q": term}) == [SECOND]


@pytest.mark.parametrize("query", ["from=yesterday", "to=9999-12-31", "min_score=much"])
def test_an_invalid_value_of_a_filter_leads_to_the_whole_list(admin_client, query):
    response = admin_client.get(f"{URL}?{query}")

    assert (response.status_code, response.headers["Location"]) == (302, f"{URL}?e=1")


@pytest.mark.parametrize("query", ["colour=red", "label__exact=FAKE&o__x=1"])
def test_an_unknown_filter_is_refused(admin_client, query):
    assert admin_client.get(f"{URL}?{query}").status_code == 400


def test_the_filter_by_batch_can_be_removed(admin_client):
    batch = open_batch(total_images=1, source="scan")
    a_prediction(original_filename="in it.jpg", batch=batch, batch_index=0)
    a_prediction(original_filename="another.jpg")

    assert names(admin_client, {"batch": batch.pk}) == ["in it.jpg"]
    assert "By batch" in page_of(admin_client, {"batch": batch.pk})
    assert "By batch" not in page_of(admin_client)


def link(page: str, words: str) -> str | None:
    found = re.search(rf'<a href="(\?[^"]*)"[^>]*>{words}</a>', page)
    return found and found[1].replace("&amp;", "&")


def test_pages_link_to_older_and_newer_pages_within_the_filter(admin_client):
    store_predictions(
        unsaved_prediction(
            original_filename=f"{number}.jpg",
            label="FAKE" if number % 12 else "REAL",
            created_at=NOON + number * timedelta(seconds=1),
        )
        for number in range(120)
    )
    expected = [f"{number}.jpg" for number in range(119, -1, -1) if number % 12]

    first = page_of(admin_client, "?label__exact=FAKE&q=jpg")
    second = page_of(admin_client, link(first, "Older →"))
    third = names(admin_client, link(second, "Older →"))

    assert names(admin_client, "?label__exact=FAKE&q=jpg") == expected[:50]
    assert names(admin_client, link(first, "Older →")) == expected[50:100]
    assert third == expected[100:]
    assert names(admin_client, link(second, "← Newer")) == expected[:50]
    assert link(first, "← Newer") is None
    # Another filter begins at its own first page.
    assert link(second, "Real") == "?label__exact=REAL&q=jpg"
    assert "p=" not in link(second, "Today")
    assert 'type="hidden" name="p"' not in second


def test_a_row_says_everything_in_words(admin_client):
    prediction = a_prediction(
        original_filename="<b>.jpg",
        fake_score=0.87648,
        uncertain=True,
        review_status="overturned",
        source="rerun",
    )

    page = page_of(admin_client)

    assert '<del>FAKE</del> <span class="badge badge-real">REAL</span>' in page
    assert "UNCERTAIN" in page
    assert "87.6 %" in page
    assert "0.876" not in page
    assert "Overturned" in page
    assert "Judged again" in page
    assert f'<a href="?model_version=1">{prediction.model_version}</a>' in page
    assert f'href="/admin/review/{prediction.pk}/"><img src="' in page
    assert "<b>.jpg" not in page


def test_the_origin_has_a_title_in_words(admin_client):
    a_prediction(declares="edited")

    page = page_of(admin_client)

    assert "By what the file says" in " ".join(page.split())
    assert "The file says" in page
    assert ">Edited with generated parts</td>" in page
    assert "declares</" not in page.lower()


def test_nothing_can_be_selected_or_sorted_across_pages(admin_client):
    store_predictions(unsaved_prediction() for _ in range(60))

    page = page_of(admin_client)

    assert "across all pages" not in page
    assert 'class="sortable' not in page


@pytest.mark.parametrize(
    "query", ["", "?label__exact=FAKE&from=2026-03-05&q=test", "?model_version=1&min_score=50"]
)
@pytest.mark.parametrize("who", ["superuser", "moderator"])
def test_a_page_costs_a_fixed_number_of_queries(client, admin_user, who, query):
    client.force_login(admin_user if who == "superuser" else a_moderator())
    costs = []
    for start, end in ((0, 5), (5, 51), (51, 80)):
        store_predictions(
            unsaved_prediction(
                original_filename=f"test {number}.jpg",
                created_at=now() - number * timedelta(seconds=1),
                reviewer=admin_user,
                owner=admin_user,
            )
            for number in range(start, end)
        )
        costs.append(queries_of(lambda: page_of(client, query)))
    few, full, more = costs

    assert len(few) <= len(full) == len(more) <= MAX_QUERIES
    # MongoDB has no index for names: a further query finds where the search has to end.
    end = f"{{'$skip': {MAX_READ - 1}}}"
    assert len([sql for sql in full if end in sql]) == (ON_SERVERS and "q=" in query)
    assert len([sql for sql in of_predictions(full) if end not in sql]) == 1
    for sql in of_predictions(few) + of_predictions(more):
        for word in ("COUNT(", "JOIN", "OFFSET", "$lookup", "$count", "$facet", "$skip"):
            assert word not in sql.replace(end, "")


def of_predictions(queries: list[str]) -> list[str]:
    return [sql for sql in queries if re.search(r"(FROM .|db\.)predictions\b", sql)]


def test_a_prediction_is_shown_with_the_other_verdicts_on_its_bytes(admin_client, admin_user):
    old = a_prediction(fake_score=0.9, model_version="1", owner=admin_user, reviewer=admin_user)
    new = a_prediction(fake_score=0.2, model_version="2", source="rerun")
    another = a_prediction(sha256="1" * 64)

    page = page_of(admin_client, f"{old.pk}/change/")

    assert f'href="/admin/review/{old.pk}/">Review</a>' in page
    assert f"{URL}{new.pk}/change/" in page
    assert another.pk not in page
    assert "90.0 %" in page
    assert "20.0 %" in page
    assert "<select" not in page.partition('id="content-main"')[2]
    assert len(queries_of(lambda: page_of(admin_client, f"{old.pk}/change/"))) <= 8


def test_the_newest_of_many_other_verdicts_are_shown(admin_client):
    same = [a_prediction() for _ in range(MAX_SAME + 2)]

    page = page_of(admin_client, f"{same[0].pk}/change/")

    links = re.findall(rf'href="{URL}(\w+)/change/"', page)
    assert list(dict.fromkeys(links)) == [each.pk for each in same[: -MAX_SAME - 1 : -1]]


def test_the_page_of_a_prediction_has_its_history(admin_client):
    prediction = a_prediction()

    assert admin_client.get(f"{URL}{prediction.pk}/history/").status_code == 200
