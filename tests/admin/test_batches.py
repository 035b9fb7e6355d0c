from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission

from detection.models import PredictionBatch, QueuedImage, new_id, now
from tests.support.api import a_user
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.queries import queries_of

pytestmark = pytest.mark.django_db

URL = "/admin/detection/predictionbatch/"
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def a_batch(**fields) -> PredictionBatch:
    created_at = fields.setdefault("created_at", NOON)
    standard = {"pk": new_id(created_at), "total_images": 4, "source": "scan", "status": "running"}
    return PredictionBatch.objects.create(**(standard | fields))


def an_error(index: int) -> dict:
    empty = {"error": "This file is empty.", "code": "empty_image"}
    return {"index": index, "filename": f"<i>{index}.txt"} | empty


def page_of(client, path: str = "") -> str:
    response = client.get(f"{URL}{path}")
    assert response.status_code == 200
    return response.content.decode()


def listed(client, query: str = "") -> list[str]:
    return re.findall(r'field-batch_id"><a [^>]*>([^<]*)</a>', page_of(client, query))


def test_the_list_shows_the_progress_of_each_batch(admin_client):
    a_batch(successful=1, failed=2, errors=[an_error(0), an_error(1)])

    page = page_of(admin_client)

    assert "3 of 4" in page
    assert '<span class="badge badge-running">Running</span>' in page


def test_list_and_page_show_the_current_counts_of_a_queued_batch(admin_client):
    batch = a_batch(sending="complete", total_images=4, status="running")
    for index, code in enumerate(("", "", "empty_image")):
        QueuedImage.objects.create(
            batch=batch, batch_index=index, filename=f"{index}.jpg", code=code, error="It is empty."
        )
    a_prediction(batch=batch, batch_index=3)

    page, listed_now = page_of(admin_client, f"{batch.pk}/change/"), page_of(admin_client)

    assert "2 of 4" in page
    assert "2 of 4" in listed_now
    assert '<td class="field-queued">2</td>' in listed_now
    assert "It is empty." in page


def test_an_empty_batch_is_shown(admin_client):
    a_batch(total_images=0, status="done")

    assert "0 of 0" in page_of(admin_client)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("?status__exact=done", 0),
        ("?source__exact=batch", 1),
        ("?from=2026-03-05&to=2026-03-05", 2),
    ],
)
def test_batches_are_filtered(admin_client, query, place):
    batches = [
        a_batch(status="done", created_at=NOON - timedelta(days=1)),
        a_batch(source="batch", created_at=NOON + timedelta(days=1)),
        a_batch(),
    ]

    assert listed(admin_client, query) == [batches[place].pk]


def test_a_batch_is_found_by_its_id(admin_client):
    batch, _ = a_batch(), a_batch()

    assert listed(admin_client, f"?q={batch.pk.lower()}") == [batch.pk]
    assert listed(admin_client, "?q=nothing") == []


def test_a_page_of_batches_costs_a_fixed_number_of_queries(moderator_client):
    costs = []
    for number in (51, 9):
        for _ in range(number):
            a_batch(errors=[an_error(0)], created_at=now())
        costs.append(queries_of(lambda: page_of(moderator_client)))

    assert len(costs[0]) == len(costs[1]) <= 5
    [query] = [sql for sql in costs[1] if "prediction_batches" in sql]
    for word in ("COUNT(", "JOIN", "OFFSET", "errors", "$lookup", "$count", "$facet", "$skip"):
        assert word not in query


def test_the_page_of_a_batch_has_its_errors_and_results(
    moderator_client, django_assert_max_num_queries
):
    batch = a_batch(successful=101, failed=1001, errors=[an_error(number) for number in (3, 7)])
    store_predictions(
        unsaved_prediction(batch=batch, batch_index=number, original_filename=f"{number}.jpg")
        for number in range(101)
    )

    with django_assert_max_num_queries(8):
        page = page_of(moderator_client, f"{batch.pk}/change/")

    assert "<td>7</td><td>&lt;i&gt;7.txt</td><td>This file is empty.</td>" in page
    assert "999 more errors are counted, but not listed." in page
    results = re.findall(r">(\d+\.jpg)</a>", page)
    assert results == [f"{number}.jpg" for number in range(100)]
    assert f'href="/admin/detection/prediction/?batch={batch.pk}"' in page


def test_results_are_for_users_who_may_see_predictions(client):
    staff = a_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_predictionbatch"))
    client.force_login(staff)
    batch = a_batch(successful=1, failed=1, errors=[an_error(3)])
    a_prediction(batch=batch, batch_index=0, original_filename="secret.jpg")

    page = page_of(client, f"{batch.pk}/change/")

    assert "This file is empty." in page
    assert "2 of 4" in page
    for hidden in ("secret.jpg", "results/test.jpg", "/admin/detection/prediction/?batch="):
        assert hidden not in page


def test_a_batch_without_errors_and_results_says_so(moderator_client):
    page = page_of(moderator_client, f"{a_batch().pk}/change/")

    assert page.count("There are none.") == 2


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "When the batch is done"),
        ({"webhook_due_at": NOON}, "Next try 2026-03-05 12:00"),
        (
            {"webhook_due_at": NOON, "webhook_tries": 2, "webhook_error": "It answered 500."},
            "Try 2: It answered 500. Next try 2026-03-05 12:00",
        ),
        (
            {"webhook_tries": 8, "webhook_error": "It answered 500."},
            "It answered 500. No further tries",
        ),
        ({"webhook_tries": 3, "webhook_delivered_at": NOON}, "Delivered 2026-03-05 12:00"),
    ],
    ids=["not yet", "due", "failed", "given up", "delivered"],
)
def test_the_page_of_a_batch_shows_the_state_of_its_webhook(moderator_client, fields, shown):
    batch = a_batch(webhook_url="https://hooks.example/secret/d3?token=secret", **fields)

    page = page_of(moderator_client, f"{batch.pk}/change/")

    assert shown in page
    assert "hooks.example" in page
    assert "secret" not in page


def test_the_page_of_a_batch_without_a_webhook_mentions_none(moderator_client):
    assert "webhook" not in page_of(moderator_client, f"{a_batch().pk}/change/").lower()
