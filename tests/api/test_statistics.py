from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from detection.judging.predict import predict_image
from detection.models import now
from detection.records.deleting import delete_with_files
from tests.support.api import a_client, a_token, a_user, assert_refused
from tests.support.factories import a_prediction, an_upload
from tests.support.provenance import a_generated_record

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
    "declared": {"generated": 0, "edited": 0, "captured": 0},
}


def test_without_records_every_figure_is_zero(client):
    assert client.get(URL).json() == NOTHING


def test_the_figures_are_exact(client):
    for score in (0.9, 0.1, 0.1, 0.0):
        a_prediction(fake_score=score)
    for score in (0.6, 0.5):
        a_prediction(fake_score=score, uncertain=True)

    assert client.get(URL).json() == NOTHING | {
        "total_predictions": 6,
        "fake_count": 2,
        "real_count": 4,
        "uncertain_count": 2,
        "fake_percentage": 33.33,
        "real_percentage": 66.67,
        "average_confidence": {"fake": 0.75, "real": 0.825},
    }


@pytest.mark.parametrize("query", [{}, {"from": "2026-03-05"}, {"from": "2026-03-05T06:00:00Z"}])
def test_declared_origins_are_counted(client, query):
    noon = datetime(2026, 3, 5, 12, tzinfo=UTC)
    a_prediction(created_at=noon)
    records = [a_generated_record(created_at=noon) for _ in range(3)]
    a_prediction(declares="edited", created_at=noon + timedelta(days=1))
    delete_with_files([records[0]])

    declared = {"generated": 2, "edited": 1, "captured": 0}
    assert client.get(URL, query).json()["declared"] == declared


def test_with_one_label_only_the_other_is_zero(client):
    a_prediction(fake_score=0.8)

    assert client.get(URL).json() == {
        **NOTHING,
        "total_predictions": 1,
        "fake_count": 1,
        "fake_percentage": 100.0,
        "average_confidence": {"fake": 0.8, "real": 0.0},
    }


def test_a_review_does_not_change_the_figures(client):
    a_prediction(fake_score=0.8, review_status="overturned")

    assert client.get(URL).json()["fake_count"] == 1


@pytest.mark.usefixtures("tiny_checkpoint")
def test_duplicates_are_counted_too(client):
    for _ in range(2):
        predict_image(upload=an_upload(), source="api")

    assert client.get(URL).json()["total_predictions"] == 2


def test_with_tokens_users_count_their_own_records(closed):
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


@pytest.fixture
def three_days() -> None:
    """Records of 1, 2 and 4 March: one, two and one."""
    for day, hour, score in ((1, 23, 0.9), (2, 0, 0.2), (2, 12, 0.8), (4, 8, 0.1)):
        a_prediction(created_at=datetime(2026, 3, day, hour, tzinfo=UTC), fake_score=score)


@pytest.mark.usefixtures("three_days")
@pytest.mark.parametrize(
    ("period", "total"),
    [
        ("from=2026-03-02", 3),
        ("to=2026-03-02", 3),
        ("from=2026-03-02&to=2026-03-02", 2),
        ("from=2026-03-02T12:00:00Z&to=2026-03-04T08:00:00Z", 1),
        ("from=2026-03-02T14:00:00%2B02:00&to=2026-03-02", 1),
        ("from=2026-03-05&to=2026-03-01", 0),
        ("from=1990-01-01&to=2090-01-01", 4),
    ],
)
def test_a_period_has_the_same_limits_as_in_the_history(client, period, total):
    assert client.get(f"{URL}?{period}").json()["total_predictions"] == total
    assert client.get(f"/api/predictions/?{period}").json()["count"] == total


@pytest.mark.usefixtures("three_days")
def test_each_day_has_its_figures_and_days_without_predictions_zeros(client):
    body = client.get(f"{URL}?from=2026-03-01&to=2026-03-04&interval=day").json()

    nothing = {name: figure for name, figure in NOTHING.items() if name != "success"}
    assert body["total_predictions"] == 4
    assert [day["date"] for day in body["days"]] == [f"2026-03-0{day}" for day in (1, 2, 3, 4)]
    assert body["days"][1] == nothing | {
        "date": "2026-03-02",
        "total_predictions": 2,
        "fake_count": 1,
        "real_count": 1,
        "fake_percentage": 50.0,
        "real_percentage": 50.0,
        "average_confidence": {"fake": 0.8, "real": 0.8},
    }
    assert body["days"][2] == nothing | {"date": "2026-03-03"}


def test_without_a_period_the_days_are_the_last_thirty(client):
    a_prediction()
    a_prediction(created_at=now() - timedelta(days=31))

    body = client.get(f"{URL}?interval=day").json()

    assert body["total_predictions"] == 1
    assert len(body["days"]) == 30
    assert body["days"][-1]["date"] == f"{now():%Y-%m-%d}"
    assert body["days"][-1]["total_predictions"] == 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("from=yesterday", "from: Send a date"),
        ("to=2026-02-30", "to: Send a date"),
        ("interval=week", "interval: "),
        ("interval=", "interval: "),
        ("interval=day&interval=day", "interval: Send this once."),
        ("until=2026-03-01", "until: There is no such parameter."),
        ("interval=day&from=2025-01-01&to=2026-01-02", "Ask for at most 366 days."),
        ("interval=day&from=2026-03-02&to=2026-03-01", "The first day is after the last one."),
        ("interval=day&to=0001-01-01", "There is no such day."),
        ("interval=day&to=0001-01-01T00:00:00Z", "There is no such day."),
    ],
)
def test_an_invalid_parameter_is_named(client, query, sentence):
    refused = assert_refused(client.get(f"{URL}?{query}"), 400, "invalid")

    assert refused.startswith(sentence)


@pytest.mark.usefixtures("three_days")
def test_with_tokens_users_count_their_own_records_by_day(closed):
    ann = a_user("ann")
    a_prediction(owner=ann, created_at=datetime(2026, 3, 2, tzinfo=UTC))

    body = a_client(a_token(ann)).get(f"{URL}?interval=day&from=2026-03-01&to=2026-03-02").json()

    assert [day["total_predictions"] for day in body["days"]] == [0, 1]


@pytest.mark.usefixtures("three_days")
def test_the_old_path_takes_the_parameters_too(client):
    query = "?from=2026-03-01&to=2026-03-04&interval=day"

    assert client.get(f"/api/db/statistics{query}").json() == client.get(f"{URL}{query}").json()
