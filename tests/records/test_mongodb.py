"""MongoDB: what ``migrate`` makes there, and that each query has its index."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from d3site.mongodb.compiler import dotted, flattened
from detection.models import AccessToken, Prediction, PredictionBatch, QueuedImage
from detection.records.duplicates import find_judged
from detection.statistics.usage import count_predictions
from tests.support.factories import a_prediction
from tests.support.settings import ON_SERVERS

pytestmark = [
    pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3"),
    pytest.mark.django_db,
]

MOMENT, LATER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
NOT_NULL = {"$and": [{"a": {"$exists": True}}, {"a": {"$ne": None}}]}


def test_every_record_is_in_mongodb():
    names = connection.database.list_collection_names()

    assert connection.vendor == "mongodb"
    assert {"predictions", "prediction_batches", "access_tokens"} <= set(names)
    assert {"auth_user", "django_session", "django_admin_log"} <= set(names)


def test_users_and_sessions_work_there(client):
    user = get_user_model().objects.create_user("ann", password="a long password")

    assert client.login(username="ann", password="a long password")
    assert len(str(user.pk)) == 24
    assert Session.objects.count() == 1


def plan_of(queryset: QuerySet) -> dict:
    """What the server says it does for the first stage."""
    plan = json.loads(queryset.explain())["queryPlanner"]["winningPlan"]
    return plan.get("inputStage", plan)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"label": "FAKE"}, "prediction_label"),
        # Both begin with it; this server takes either, MongoDB the one that sorts.
        ({"review_status": "unreviewed"}, ("prediction_review", "prediction_queue")),
        ({"review_status": "unreviewed", "margin__lte": 0.1}, "prediction_queue"),
        ({"model_version": "1"}, "prediction_model"),
        ({"uncertain": True}, "prediction_uncertain"),
        ({"source": "scan"}, "prediction_source"),
        ({"fake_score__gte": 0.9}, "prediction_score"),
        ({"batch": "01JDABCDEFGHJKMNPQRSTVWXYZ"}, "prediction_batch"),
        ({"owner": "0123456789abcdef01234567"}, "prediction_owner"),
        ({"created_at__gte": MOMENT}, "prediction_newest"),
        ({"created_at__lt": MOMENT}, "prediction_newest"),
        ({"created_at__gte": MOMENT, "created_at__lt": MOMENT}, "prediction_newest"),
        ({"label": "FAKE", "created_at__lt": MOMENT}, "prediction_label"),
        ({"sha256": "0" * 64, "model_version": "1"}, "prediction_duplicate"),
        ({"pk": "01JDABCDEFGHJKMNPQRSTVWXYZ"}, "predictions_id_4deebd36_uniq"),
    ],
)
def test_every_filter_has_an_index(filters, index):
    for number in range(20):
        a_prediction(fake_score=number / 20)

    plan = plan_of(Prediction.objects.filter(**filters).order_by("-created_at", "-pk")[:11])

    assert plan["stage"] == "IXSCAN"
    assert plan["indexName"].startswith(index)


@pytest.mark.parametrize(
    ("model", "filters"),
    [
        (Session, {"session_key": "x" * 32}),
        (get_user_model(), {"username": "ann"}),
        (AccessToken, {"token_key": "d3_x"}),
        (PredictionBatch, {"pk": "01JDABCDEFGHJKMNPQRSTVWXYZ"}),
    ],
)
def test_what_each_request_looks_up_has_an_index(model, filters):
    assert plan_of(model.objects.filter(**filters).order_by())["stage"] == "IXSCAN"


def test_every_filter_of_the_history_is_sorted_by_the_rest_of_its_index():
    leading = [index.fields for index in Prediction._meta.indexes]

    for name in ("label", "review_status", "uncertain", "batch", "owner"):
        assert [name, "-created_at", "-id"] in leading
    assert ["-created_at", "-id"] in leading


def test_the_permissions_of_a_user_can_be_edited(admin_client, admin_user):
    """Their list is sorted by fields of a joined collection."""
    assert admin_client.get(f"/admin/auth/user/{admin_user.pk}/change/").status_code == 200


def test_nothing_stands_between_filter_and_sort():
    with CaptureQueriesContext(connection) as queries:
        list(Prediction.objects.filter(label="FAKE").order_by("-created_at", "-pk")[:11])

    [query] = [each["sql"] for each in queries.captured_queries]
    stages = [stage for stage in ("$match", "$addFields", "$project", "$sort") if stage in query]
    assert stages == ["$match", "$sort"]


@pytest.mark.parametrize(
    ("condition", "simpler"),
    [
        ({"a": 1}, {"a": 1}),
        (
            {"$and": [{"a": 1}, {"$and": [{"b": {"$gt": 2}}, {"b": {"$lt": 3}}]}]},
            {"a": 1, "b": {"$gt": 2, "$lt": 3}},
        ),
        (
            {
                "$and": [
                    {"a": {"$lt": 3}},
                    {"$and": [{"a": {"$exists": True}}, {"a": {"$ne": None}}]},
                ]
            },
            {"a": {"$lt": 3}},
        ),
        ({"$and": [{"a": 1}, {"a": 2}]}, {"$and": [{"a": 1}, {"a": 2}]}),
        (
            {"$and": [{"a": {"$lt": 2}}, {"a": {"$lt": 3}}]},
            {"$and": [{"a": {"$lt": 2}}, {"a": {"$lt": 3}}]},
        ),
        (
            {
                "$and": [
                    {"a": {"$gte": MOMENT, "$lt": LATER}},
                    {"a": {"$gte": LATER}},
                    {"a": {"$lt": MOMENT}},
                ]
            },
            {"a": {"$gte": LATER, "$lt": MOMENT}},
        ),
        ({"$and": [{"$expr": {"$gt": 1}}, {"$expr": {"$eq": 2}}]}, None),
        ({"$and": [{"$or": [1]}, {"$or": [2]}]}, {"$and": [{"$or": [1]}, {"$or": [2]}]}),
        (
            {"$and": [{"a": {"x": 1}}, {"a": {"y": 1}}]},
            {"$and": [{"a": {"x": 1}}, {"a": {"y": 1}}]},
        ),
    ],
)
def test_conditions_are_flattened_only_where_that_says_the_same(condition, simpler):
    assert flattened(condition) == (simpler or condition)


@pytest.mark.parametrize(
    ("fields", "simpler"),
    [
        ({"a": 1, "b": {"c": 1, "d": 1}}, {"a": 1, "b.c": 1, "b.d": 1}),
        ({"a": {"$add": [1, 1]}}, {"a": {"$add": [1, 1]}}),
        ({"a": {"$literal": 1}}, {"a": {"$literal": 1}}),
        ({"a": {"b": 1, "c": "$a.b"}}, {"a": {"b": 1, "c": "$a.b"}}),
        ({"a": {}}, {"a": {}}),
    ],
)
def test_fields_of_joined_collections_are_asked_for_by_their_path(fields, simpler):
    assert dotted(fields) == simpler


def test_the_permissions_of_a_group_are_those_of_its_members(moderator):
    assert moderator.has_perm("detection.review_prediction")
    assert not moderator.has_perm("detection.delete_prediction")


def pipelines_of(action) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        action()
    return [each["sql"] for each in queries.captured_queries]


def test_the_duplicate_check_and_the_statistics_begin_with_an_indexed_filter():
    a_prediction()

    def duplicate_check(*sha256s: str) -> list[str]:
        return pipelines_of(lambda: find_judged(sha256s=sha256s, model_version="1", user=None))

    [one], [some] = duplicate_check("0" * 64), duplicate_check("1" * 64, "2" * 64)
    [statistics] = pipelines_of(lambda: count_predictions(user=None))

    assert one.startswith("db.predictions.aggregate([{'$match': {'sha256': '000")
    assert some.startswith("db.predictions.aggregate([{'$match': {'sha256': {'$in': (")
    assert statistics.startswith("db.totals.aggregate([{'$match': {'id': {'$gte': '/usage/ever/'")


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"batch": "01JDABCDEFGHJKMNPQRSTVWXYZ", "code": ""}, "queued_batch"),
        (
            {
                "batch": "01JDABCDEFGHJKMNPQRSTVWXYZ",
                "code": "",
                "batch_index__gte": 0,
                "batch_index__lte": 31,
            },
            "queued_batch",
        ),
        ({"batch": "01JDABCDEFGHJKMNPQRSTVWXYZ", "code__gt": ""}, "queued_batch"),
        ({"code__gt": ""}, "queued_lease"),
    ],
)
def test_what_waits_is_found_by_an_index(filters, index):
    batch = PredictionBatch.objects.create(total_images=20, source="batch")
    for number in range(20):
        QueuedImage.objects.create(batch=batch, batch_index=number, filename="a.jpg")

    plan = plan_of(QueuedImage.objects.filter(**filters).order_by("batch_index")[:32])

    assert plan["stage"] == "IXSCAN"
    assert plan["indexName"] == index
