"""SQLite reads by an index what lists show, and what is counted and deleted by its time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from detection.models import PredictionBatch, now
from detection.records.duplicates import find_scores
from detection.statistics.periods import Period
from detection.statistics.usage import count_failed_batches, count_predictions
from detection.upkeep.purging import purge_predictions
from tests.support.factories import a_prediction
from tests.support.queries import queries_of
from tests.support.settings import ON_SERVERS

pytestmark = [
    pytest.mark.skipif(ON_SERVERS, reason="SQLite's plans"),
    pytest.mark.django_db,
]

DAY = date(2026, 11, 20)
MORNING = datetime(2026, 11, 20, 8, tzinfo=UTC)
TABLES = ("predictions", "prediction_batches", "queued_images", "access_tokens")
HISTORY, IN_ADMIN = "/api/predictions/", "/admin/detection/prediction/"
BATCHES_IN_ADMIN = "/admin/detection/predictionbatch/"
CURSOR = "cursor=older-01JDABCDEFGHJKMNPQRSTVWXYZ"


def plans_of(action: Callable[[], object]) -> Iterator[str]:
    """Yield each step that SQLite plans for the queries of an action."""
    for query in queries_of(action):
        if query.startswith(("SELECT", "UPDATE", "DELETE")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query}")
                yield from (step for *_, step in cursor.fetchall())


@pytest.mark.parametrize(
    "path",
    [
        HISTORY,
        f"{HISTORY}?{CURSOR}",
        f"{HISTORY}?label=FAKE&{CURSOR}",
        f"{HISTORY}?min_score=0.9&max_score=0.95",
        f"{HISTORY}?search=test",
        f"{HISTORY}?from=2026-11-20&to=2026-11-21",
        "/history/?verdict=FAKE",
        "/history/?verdict=UNCERTAIN",
        "/metrics",
        IN_ADMIN,
        f"{IN_ADMIN}?label__exact=FAKE&uncertain__exact=1",
        f"{IN_ADMIN}?from=2026-11-20&to=2026-11-21",
        f"{IN_ADMIN}?min_score=80",
        BATCHES_IN_ADMIN,
        f"{BATCHES_IN_ADMIN}?from=2026-11-20",
        "/admin/dashboard/",
        "/admin/review/",
        f"{IN_ADMIN}?q={'0' * 64}",
        "/admin/detection/accesstoken/",
    ],
)
def test_no_list_reads_a_whole_table_or_sorts(admin_client, path):
    a_prediction()

    plans = [*plans_of(lambda: admin_client.get(path))]

    assert [plan for plan in plans if "FOR ORDER BY" in plan] == []
    assert {f"SCAN {table}" for table in TABLES} & {*plans} == set()
    assert any(table in plan for plan in plans for table in TABLES)


FILTERS = [  # each index with a page that reads by it
    ("prediction_label", f"{HISTORY}?label=FAKE"),
    ("prediction_review", f"{HISTORY}?review_status=confirmed"),
    ("prediction_uncertain", f"{HISTORY}?uncertain=true"),
    ("prediction_uncertain", f"{IN_ADMIN}?uncertain__exact=0"),
    ("prediction_batch", f"{HISTORY}?batch=01JDABCDEFGHJKMNPQRSTVWXYZ"),
    ("prediction_source", f"{IN_ADMIN}?source__exact=api"),
    ("prediction_model", f"{IN_ADMIN}?model_version=1"),
    ("prediction_declares", f"{HISTORY}?declares=generated"),
    ("prediction_score", f"{HISTORY}?min_score=0.9"),
    ("prediction_agreement", "/admin/dashboard/"),
    ("prediction_queue", "/admin/review/"),
    ("prediction_duplicate", f"{IN_ADMIN}?q={'0' * 64}"),
    ("prediction_created", "/api/statistics/?from=2026-11-20T08:00:00Z&to=2026-11-20T09:00:00Z"),
    ("batch_status", f"{BATCHES_IN_ADMIN}?status__exact=failed"),
    ("batch_source", f"{BATCHES_IN_ADMIN}?source__exact=scan"),
]


@pytest.mark.parametrize(("index", "path"), FILTERS)
def test_each_filter_reads_its_index(admin_client, index, path):
    a_prediction()

    plans = [*plans_of(lambda: admin_client.get(path))]

    step = "SCAN" if index == "prediction_score" else "SEARCH"  # its range follows the order
    assert any(re.match(rf"{step} \w+ USING (COVERING )?INDEX {index}\b", plan) for plan in plans)


def test_the_records_of_an_owner_and_of_a_batch_are_read_by_their_indexes(client, closed):
    client.force_login(ann := get_user_model().objects.create_user("ann"))
    batch = PredictionBatch.objects.create(total_images=1, source="batch", owner=ann)

    plans = [*plans_of(lambda: client.get(HISTORY))]
    plans += plans_of(lambda: client.get(f"/api/batches/{batch.pk}/"))

    for index in ("prediction_owner", "prediction_batch_index"):
        assert any(f"USING INDEX {index} (" in plan for plan in plans)


def test_the_review_queue_and_the_duplicate_check_read_by_their_whole_filter(admin_client):
    plans = [*plans_of(lambda: admin_client.get("/admin/review/"))]
    plans += plans_of(lambda: find_scores(sha256s=["0" * 64], model_version="1", user=None))

    assert any("prediction_queue (review_status=? AND reason=?" in plan for plan in plans)
    assert any("prediction_duplicate (sha256=?" in plan for plan in plans)


def test_an_owners_part_of_a_day_is_read_by_owner_and_time(closed):
    ann = get_user_model().objects.create_user("ann")

    plans = plans_of(
        lambda: count_predictions(user=ann, start=MORNING, end=MORNING + timedelta(hours=2))
    )

    index = "prediction_owner_created (owner_id=? AND created_at>? AND created_at<?)"
    assert any(index in plan for plan in plans)


def test_failed_batches_of_a_period_are_read_by_their_ids():
    plans = plans_of(lambda: count_failed_batches(Period(DAY, DAY)))

    assert any("batch_status (status=? AND _id>? AND _id<?)" in plan for plan in plans)


def test_old_batches_are_read_by_their_ids():
    PredictionBatch.objects.create(total_images=1, source="batch")

    plans = [*plans_of(lambda: [*purge_predictions(before=now())])]

    assert any("SEARCH prediction_batches" in plan and "(_id<?)" in plan for plan in plans)
    assert "SCAN prediction_batches" not in plans
