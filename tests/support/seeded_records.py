"""Answers of the service on a database with the made-up records of a year, and their times.

``python -m tests.support.seeded_records COUNT`` seeds it and prints the names of the questions as a
line of JSON. For each name that it then reads, it prints the milliseconds and the number of queries
of the answer.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.support.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext, override_settings  # noqa: E402

from detection.models import Prediction, now  # noqa: E402
from detection.records.duplicates import find_scores  # noqa: E402
from detection.records.lookalikes import lookalikes_of  # noqa: E402
from detection.records.paging import Cursor, sent_between  # noqa: E402
from detection.records.writing import delete_predictions, write_predictions  # noqa: E402
from detection.statistics.usage import count_predictions  # noqa: E402
from detection.workbench.seeding import seed_predictions  # noqa: E402
from tests.support.factories import unsaved_prediction  # noqa: E402

Question = Callable[[], object]


def a_client() -> Client:
    return Client()


def staff_client() -> Client:
    user, _ = get_user_model().objects.get_or_create(
        username="staff", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    return client


def a_record(*, days_ago: int) -> Prediction:
    """Return the first record of a batch since then."""
    since = sent_between(Prediction.objects.all(), start=now() - timedelta(days=days_ago))
    return since.exclude(batch=None).order_by("pk")[0]


def questions() -> dict[str, Question]:
    record = a_record(days_ago=180)
    return {
        **api_questions(record),
        **admin_questions(record),
        "duplicate check, found": lambda: judged(record.sha256, record.model_version),
        "duplicate check, new": lambda: judged("0" * 64, record.model_version),
        "statistics, a user's hours": lambda: count_of_a_user(record),
        "look-alikes": lambda: lookalikes_of(record, user=None),
        "record written, deleted": write_and_delete,
    }


def api_questions(record: Prediction) -> dict[str, Question]:
    client = a_client()

    def get(path: str) -> Question:
        return lambda: answered(client, path)

    weeks, year_ago = two_weeks_from(record), f"{now() - timedelta(days=364):%Y-%m-%d}"
    history, moment = "/api/predictions/", f"{record.created_at:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "history, first page": get(history),
        "history, deep page": get(f"{history}?cursor={Cursor('older', record.pk)}"),
        "history, two weeks": get(f"{history}?{weeks}"),
        "history, by label": get("/api/db/predictions/by-label/FAKE"),
        "history, uncertain": get(f"{history}?uncertain=true"),
        "history, reviewed": get(f"{history}?review_status=overturned"),
        "history, score": get(f"{history}?min_score=0.97"),
        "history, batch": get(f"{history}?batch={record.batch_id}"),
        "search, common name": get(f"{history}?search=holiday"),
        "search, one old file": get(f"{history}?search={record.original_filename}"),
        "search, no such file": get(f"{history}?search=nowhere"),
        "one record": get(f"{history}{record.pk}/"),
        "statistics": get("/api/statistics/"),
        "statistics, year by day": get(f"/api/statistics/?interval=day&from={year_ago}"),
        "statistics, moments": get(f"/api/statistics/?from={moment}"),
    }


def admin_questions(record: Prediction) -> dict[str, Question]:
    staff = staff_client()

    def get(path: str) -> Question:
        return lambda: answered(staff, f"/admin/{path}", follow=True)

    weeks, year_ago = two_weeks_from(record), f"{now() - timedelta(days=364):%Y-%m-%d}"
    predictions = "detection/prediction/"
    return {
        "admin, first page": get(predictions),
        "admin, deep page": get(f"{predictions}?p={Cursor('older', record.pk)}"),
        "admin, label": get(f"{predictions}?label__exact=FAKE"),
        "admin, unreviewed": get(f"{predictions}?review_status__exact=unreviewed"),
        "admin, two weeks": get(f"{predictions}?{weeks}"),
        "admin, model version": get(f"{predictions}?model_version={record.model_version}"),
        "admin, search": get(f"{predictions}?q={record.original_filename}"),
        "admin, sha256": get(f"{predictions}?q={record.sha256}"),
        "admin, one record": get(f"{predictions}{record.pk}/change/"),
        "admin, batches": get("detection/predictionbatch/"),
        "review, next one": get("review/"),
        "dashboard": get("dashboard/"),
        "dashboard, a year": get(f"dashboard/?from={year_ago}"),
    }


def two_weeks_from(record: Prediction) -> str:
    """Return parameters for two weeks, in which even few records fill a page."""
    return f"from={record.created_at:%Y-%m-%d}&to={record.created_at + timedelta(days=13):%Y-%m-%d}"


def answered(client: Client, path: str, **options: object) -> None:
    response = client.get(path, **options)
    assert response.status_code == 200, response.content


def judged(sha256: str, model_version: str) -> None:
    find_scores(sha256s=[sha256], model_version=model_version, user=None)


def count_of_a_user(record: Prediction) -> None:
    """Count what the sender of the record has sent in the twelve hours after it."""
    start = record.created_at
    with override_settings(API_ACCESS="token"):
        count_predictions(user=record.owner, start=start, end=start + timedelta(hours=12))


def write_and_delete() -> None:
    prediction = unsaved_prediction()
    write_predictions([prediction])
    delete_predictions([prediction.pk])


def seed(count: int) -> None:
    call_command("migrate", verbosity=0)
    start = time.monotonic()
    stored = sum(seed_predictions(count=count, until=now()))
    print(f"{stored} records seeded in {time.monotonic() - start:.0f} s", file=sys.stderr)


def answer(question: Question) -> tuple[float, int]:
    """Return the milliseconds and the number of queries of an answer."""
    with CaptureQueriesContext(connection) as queries:
        start = time.perf_counter()
        question()
        took = time.perf_counter() - start
    return 1000 * took, len(queries)


def main(count: int) -> None:
    logging.disable(logging.INFO)  # a line for each request
    answers = sys.stdout
    with redirect_stdout(sys.stderr):
        seed(count)
        asked = questions()
        print(json.dumps([*asked]), file=answers, flush=True)
        for name in sys.stdin:
            print(json.dumps(answer(asked[name.strip()])), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
