"""How the answers slow down as records gather: times at 1000 and at 100 000, their ratio, and the
queries that each answer takes.

``python -m tests.benchmark_records [SMALL LARGE]``; with TEST_PAIR=mongodb-s3 on a MongoDB wire
server. Only reading is measured; the files of the records do not exist.
"""

from __future__ import annotations

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

from detection.models import Prediction, PredictionBatch, new_id, now  # noqa: E402
from detection.selectors import find_judged  # noqa: E402
from tests.factories import unsaved_prediction  # noqa: E402

REPEATS = 5
STEP = 2000


def seed(total: int) -> None:
    """Fills up to ``total`` records, one a minute, the newest now."""
    end = now()
    for start in range(Prediction.objects.count(), total, STEP):
        Prediction.objects.bulk_create(
            unsaved_prediction(
                fake_score=(number * 7919 % 1000) / 1000,
                created_at=end - timedelta(minutes=total - number),
                uncertain=number % 20 == 0,
                sha256=f"{number:064x}",
                original_filename=f"picture {number}.jpg",
            )
            for number in range(start, min(start + STEP, total))
        )


def seed_batches(total: int) -> None:
    """One batch for a hundred records, with a list of errors as long as it gets in practice."""
    error = {"index": 0, "filename": "notes.txt", "error": "No image.", "code": "empty_image"}
    moments = (now() - timedelta(minutes=100 * number) for number in range(total // 100))
    PredictionBatch.objects.all().delete()
    PredictionBatch.objects.bulk_create(
        PredictionBatch(
            pk=new_id(moment),
            total_images=100,
            successful=80,
            failed=20,
            errors=[error] * 20,
            source="batch",
            created_at=moment,
        )
        for moment in moments
    )


def staff_client() -> Client:
    user, _ = get_user_model().objects.get_or_create(
        username="staff", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    return client


def questions(client: Client, staff: Client) -> dict[str, Callable[[], object]]:
    def get(path: str) -> Callable[[], object]:
        asking = staff if path.startswith("/admin/") else client
        return lambda: _answered(asking, path)

    middle = Prediction.objects.order_by("created_at")[Prediction.objects.count() // 2]
    day = f"{middle.created_at:%Y-%m-%d}"
    predictions = "/admin/detection/prediction/"
    return {
        "history, first page": get("/api/predictions/"),
        "history, one day": get(f"/api/predictions/?from={day}&to={day}"),
        "history, label": get("/api/predictions/?label=FAKE"),
        "history, uncertain": get("/api/predictions/?uncertain=true"),
        "history, score": get("/api/predictions/?min_score=0.99"),
        "history, search": get("/api/predictions/?search=picture%20777"),
        "one record": get(f"/api/predictions/{middle.pk}/"),
        "statistics": get("/api/statistics/"),
        "duplicate check": lambda: find_judged(
            sha256s=[middle.sha256], model_version=middle.model_version, user=None
        ),
        "admin, first page": get(predictions),
        "admin, label": get(f"{predictions}?label__exact=FAKE"),
        "admin, unreviewed": get(f"{predictions}?review_status__exact=unreviewed"),
        "admin, one day": get(f"{predictions}?from={day}&to={day}"),
        "admin, score": get(f"{predictions}?min_score=99"),
        "admin, file name": get(f"{predictions}?q=picture%20777"),
        "admin, sha256": get(f"{predictions}?q={middle.sha256}"),
        "admin, one record": get(f"{predictions}{middle.pk}/change/"),
        "admin, batches": get("/admin/detection/predictionbatch/"),
        "review, next one": lambda: _answered(staff, "/admin/review/", follow=True),
        "dashboard": get("/admin/dashboard/"),
    }


def _answered(client: Client, path: str, **options: object) -> None:
    response = client.get(path, **options)
    assert response.status_code == 200, response.content


def median_ms(question: Callable[[], object]) -> float:
    question()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        question()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def queries_of(question: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        question()
    return len(queries)


def main(small: int = 1000, large: int = 100_000) -> None:
    call_command("migrate", verbosity=0)
    results = []
    for total in (small, large):
        seed(total)
        seed_batches(total)
        asked = questions(Client(), staff_client())
        results.append({name: median_ms(ask) for name, ask in asked.items()})
    print(f"{connection.vendor}: median of {REPEATS}, in milliseconds")
    print(f"{'':24} {small:>10} {large:>10} {'ratio':>8} {'queries':>8}")
    for name, before in results[0].items():
        after, queries = results[1][name], queries_of(asked[name])
        print(f"{name:24} {before:10.1f} {after:10.1f} {after / before:8.1f} {queries:8}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
