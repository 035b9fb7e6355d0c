"""The dashboard without JavaScript: its tables, its selectors, its permissions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils.timesince import timesince

from detection.models import PredictionBatch, RefusalCount, new_id, now
from tests.support.api import a_user
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.pages import Page
from tests.support.queries import queries_of

pytestmark = pytest.mark.django_db

URL = "/admin/dashboard/"
MARCH = {"from": "2026-03-01", "to": "2026-03-03"}


def shown(client, **query: str) -> str:
    """Return the text of the page."""
    response = client.get(URL, query)
    assert response.status_code == 200
    return Page(response.content.decode()).text


@pytest.fixture
def march() -> None:
    """Eight predictions by two versions of the model, six of them reviewed, and two refusals."""
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for score, version, review in (
        (0.9, "old", "confirmed"),
        (0.9, "old", "overturned"),
        (0.1, "old", "confirmed"),
        (0.1, "old", "overturned"),
        (0.8, "new", "confirmed"),
        (0.2, "new", "confirmed"),
        (0.8, "new", "unreviewed"),
        (1.0, "unseen", "unreviewed"),
    ):
        a_prediction(
            created_at=moment,
            fake_score=score,
            model_version=version,
            review_status=review,
            duration_ms=round(100 * score),
        )
    for source, count in (("api", 3), ("scan", 4)):
        day = moment.date()
        RefusalCount.objects.create(
            id=f"{day}/{source}/truncated_image",
            day=day,
            source=source,
            code="truncated_image",
            count=count,
        )
    failed = PredictionBatch.Status.FAILED
    PredictionBatch.objects.create(
        batch_id=new_id(moment), total_images=1, source="api", status=failed
    )


def test_moderators_and_administrators_see_it(admin_client, moderator_client):
    for client in (admin_client, moderator_client):
        assert "Dashboard" in shown(client)
        index = client.get("/admin/").content.decode()
        assert f'href="{URL}"' in index
        assert 'href="/admin/review/"' in index


def test_other_users_do_not_see_it(client):
    assert client.get(URL).headers["Location"] == f"/admin/login/?next={URL}"

    client.force_login(a_user("clerk", is_staff=True))

    assert client.get(URL).status_code == 403
    assert f'href="{URL}"' not in client.get("/admin/").content.decode()


def test_a_post_is_refused(admin_client):
    assert admin_client.post(URL).status_code == 405


def test_without_records_it_says_so(admin_client):
    text = shown(admin_client)

    assert "Predictions 0 Share FAKE –" in text
    assert "Review queue 0" in text
    assert "Oldest in the queue –" in text
    assert "No image was judged." in text
    assert "No image was refused." in text
    assert "There are no reviews yet." in text


@pytest.mark.usefixtures("march")
def test_usage_is_shown(admin_client):
    text = shown(admin_client, **MARCH)

    assert "Predictions 8 Share FAKE 62.5 %" in text
    assert "2026-03-01 0 0 0 – 0 0" in text
    assert "2026-03-02 8 3 5 62.5 % 0 7" in text
    assert "0.10–0.15 2 0" in text
    assert "0.95–1.00 0 1" in text
    assert "50 % 80 90 % 100 95 % 100 99 % 100" in text


@pytest.mark.usefixtures("march")
def test_errors_are_shown(admin_client):
    text = shown(admin_client, **MARCH)

    assert "Refused images 7 Failed batches 1" in text
    assert "truncated_image 3 0 4 0 0 7" in text
    assert "requests with store=false are counted in /metrics only" in text


@pytest.mark.usefixtures("march")
def test_quality_is_shown_by_model_version(admin_client):
    text = shown(admin_client, **MARCH)

    assert "new 2 100.0 % 34.2–100.0 %, 2 of 2 100.0 % 20.7–100.0 %, 1 of 1" in text
    assert "old 4 50.0 % 15.0–85.0 %, 2 of 4" in text
    assert "unseen 0 no reviews yet" in text
    assert "Confusion matrix, all model versions" in text
    assert "Model says FAKE 2 right 1 false alarm Model says REAL 1 missed 2 right Sum 3 3" in text


@pytest.mark.usefixtures("march")
def test_one_model_version_can_be_selected(admin_client):
    text = shown(admin_client, **MARCH, version="new")

    assert "Predictions 3 Share FAKE 66.7 %" in text
    assert "Refused images 7" in text
    assert "0.95–1.00 0 0" in text
    assert "50 % 80 90 % 80" in text
    assert "Confusion matrix, model version new" in text
    assert "Model says FAKE 1 right 0 false alarm Model says REAL 0 missed 1 right" in text


@pytest.mark.usefixtures("march")
def test_the_selectors_show_what_was_selected(admin_client):
    page = Page(admin_client.get(URL, MARCH | {"version": "old"}).content.decode())

    fields = {each["name"]: each.get("value") for each in page.all("input") if "name" in each}
    assert (fields["from"], fields["to"]) == ("2026-03-01", "2026-03-03")
    options = page.all("option")
    assert [each["value"] for each in options] == ["", "new", "old", "unseen"]
    assert [each["value"] for each in options if "selected" in each] == ["old"]


@pytest.mark.usefixtures("march")
def test_a_version_without_predictions_stays_selected(admin_client):
    page = Page(admin_client.get(URL, {"version": "<b>"}).content.decode())

    assert [each["value"] for each in page.all("option") if "selected" in each] == ["<b>"]
    assert "There are no predictions." in page.text


def test_the_last_thirty_days_are_shown_first(admin_client):
    today = now().date()
    a_prediction(created_at=now() - timedelta(days=29))
    oldest = a_prediction(created_at=now() - timedelta(days=30))

    text = shown(admin_client)

    assert f"{today - timedelta(days=29)} to {today}, days in UTC" in text
    assert "Predictions 1 Share" in text
    assert "Review queue 2" in text
    age = timesince(oldest.created_at)
    assert f"Oldest in the queue {age}".replace("\xa0", " ") in text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"from": "yesterday"}, "Enter a date like 2026-11-22."),
        ({"to": "2026-02-30"}, "Enter a date like 2026-11-22."),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "The first day is after the last one."),
        ({"from": "2020-01-01", "to": "2026-03-01"}, "Ask for at most 366 days."),
        ({"to": "0001-01-01"}, "There is no such day."),
        ({"from": "9999-12-01", "to": "9999-12-31"}, "There is no such day."),
        ({"version": "v" * 65}, "Ensure this value has at most 64 characters"),
        ({"version": "v\0"}, "Null characters are not allowed."),
    ],
)
def test_an_invalid_selection_is_explained_beside_the_last_thirty_days(
    admin_client, query, sentence
):
    text = shown(admin_client, **query)

    assert sentence in text
    assert f"to {now().date()}, days in UTC" in text


def test_the_number_of_queries_does_not_grow_with_the_records(moderator_client):
    a_prediction()
    few = queries_of(lambda: shown(moderator_client))
    moments = [now() - timedelta(minutes=minutes) for minutes in range(0, 40_000, 40)]
    store_predictions(
        unsaved_prediction(created_at=moment, model_version=str(number % 7))
        for number, moment in enumerate(moments)
    )

    assert len(queries_of(lambda: shown(moderator_client))) == len(few) <= 12


def test_the_model_is_compared_with_itself_on_look_alikes(moderator_client):
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for agreement, version in (("agrees", "1"), ("agrees", "1"), ("contradicts", "2"), ("", "1")):
        a_prediction(created_at=moment, agreement=agreement, model_version=version)
    a_prediction(agreement="contradicts")  # later

    assert "Same label for changed copies 66.7 % 20.8–93.9, of 3" in shown(
        moderator_client, **MARCH
    )
    assert "Same label for changed copies 100.0 %" in shown(moderator_client, **MARCH, version="1")
    april = {"from": "2026-04-01", "to": "2026-04-03"}
    assert "Same label for changed copies –" in shown(moderator_client, **april)
