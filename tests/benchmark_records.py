"""How the answers slow down as records gather: times at 1000 and at a million records of a year,
their ratio and its bound, and the queries that each answer takes.

``python -m tests.benchmark_records [SMALL [LARGE]]``; with TEST_PAIR=mongodb-s3 on a MongoDB wire
server, where 300 000 are the most unless told otherwise. Seeding takes most of the time.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from detection.models import Prediction, now  # noqa: E402
from detection.paging import Cursor  # noqa: E402
from detection.records import delete_predictions, write_prediction  # noqa: E402
from detection.seeding import remove_seeded, seed_predictions  # noqa: E402
from detection.selectors import find_judged  # noqa: E402
from tests.factories import unsaved_prediction  # noqa: E402

REPEATS = 7
LARGE = {"sqlite": 1_000_000, "mongodb": 300_000}
BOUND = 2.0  # times as long with many records as with few
SEARCH_BOUND = 20.0  # where it looks through the records
PATIENT_MS = 120_000  # for a server that has many records to sort in while it is seeded

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
    """A single one, and in a batch; found by the time, since not every server sorts by an index."""
    start = now() - timedelta(days=days_ago)
    for days in (1, 10, 100):
        made = Prediction.objects.filter(
            created_at__gte=start, created_at__lt=start + timedelta(days=days)
        )
        if record := next((each for each in made.order_by("created_at") if each.batch_id), None):
            return record
    raise LookupError("There is no batch at that time.")


def questions() -> dict[str, Question]:
    record = a_record(days_ago=180)
    return {
        **api_questions(record),
        **admin_questions(record),
        "duplicate check, found": lambda: judged(record.sha256, record.model_version),
        "duplicate check, new": lambda: judged("0" * 64, record.model_version),
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
        "history, deep page": get(f"{history}?cursor={Cursor.beside(record, 'older')}"),
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
        "admin, deep page": get(f"{predictions}?p={Cursor.beside(record, 'older')}"),
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
    """As long as it takes to fill a page, with few records too."""
    return f"from={record.created_at:%Y-%m-%d}&to={record.created_at + timedelta(days=13):%Y-%m-%d}"


def answered(client: Client, path: str, **options: object) -> None:
    response = client.get(path, **options)
    assert response.status_code == 200, response.content


def judged(sha256: str, model_version: str) -> None:
    find_judged(sha256s=[sha256], model_version=model_version, user=None)


def write_and_delete() -> None:
    prediction = unsaved_prediction()
    write_prediction(prediction)
    delete_predictions([prediction.pk])


def median_ms(question: Question) -> float:
    question()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        question()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def queries_of(question: Question) -> int:
    with CaptureQueriesContext(connection) as queries:
        question()
    return len(queries)


def seed(total: int) -> None:
    start = time.monotonic()
    for _ in remove_seeded():
        pass
    stored = sum(seed_predictions(count=total, until=now()))
    print(f"{stored} records seeded in {time.monotonic() - start:.0f} s", file=sys.stderr)


def bound_of(name: str) -> float:
    return SEARCH_BOUND if "search" in name else BOUND


def table(before: dict[str, float], after: dict[str, float], queries: dict[str, int]) -> list[str]:
    lines = []
    for name, milliseconds in before.items():
        ratio = after[name] / milliseconds
        verdict = "" if ratio <= bound_of(name) else "  too slow"
        lines.append(
            f"{name:24} {milliseconds:10.1f} {after[name]:10.1f} {ratio:7.1f} {bound_of(name):7.0f}"
            f" {queries[name]:8}{verdict}"
        )
    return lines


def main(small: int = 1000, large: int | None = None) -> int:
    """Exit code 1 when an answer takes longer than its bound."""
    logging.disable(logging.INFO)  # a line for each request
    if connection.vendor == "mongodb":
        connection.settings_dict["OPTIONS"]["socketTimeoutMS"] = PATIENT_MS
    call_command("migrate", verbosity=0)
    times = []
    for total in (small, large or LARGE[connection.vendor]):
        seed(total)
        asked = questions()
        times.append({name: median_ms(ask) for name, ask in asked.items()})
    queries = {name: queries_of(ask) for name, ask in asked.items()}
    print(f"{connection.vendor}: median of {REPEATS}, in milliseconds")
    print(f"{'records':24} {small:>10} {total:>10} {'ratio':>7} {'bound':>7} {'queries':>8}")
    print("\n".join(table(*times, queries)))
    return int(any(times[1][name] / ms > bound_of(name) for name, ms in times[0].items()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
