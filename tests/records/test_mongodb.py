"""MongoDB: the collections that ``migrate`` makes, and an index for each query."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet

from d3site.mongodb.compiler import dotted
from detection.models import AccessToken, Prediction, PredictionBatch, QueuedImage
from detection.records.duplicates import find_scores
from detection.statistics.usage import count_predictions
from tests.support.factories import a_prediction
from tests.support.queries import queries_of
from tests.support.settings import ON_SERVERS

pytestmark = [
    pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3"),
    pytest.mark.django_db,
]

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
MIDDLE = "01JDABCDEFGHJKMNPQRSTVWXYZ"


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
    """Return the server's plan for the first stage."""
    plan = json.loads(queryset.explain())["queryPlanner"]["winningPlan"]
    return plan.get("inputStage", plan)


def test_the_id_of_the_api_is_the_id_of_the_document():
    prediction = a_prediction()
    batch = PredictionBatch.objects.create(total_images=1, source="scan")
    image = QueuedImage.objects.create(batch=batch, batch_index=0, filename="a.jpg")
    token, _ = AccessToken.objects.create(get_user_model().objects.create_user("ann"), name="cms")
    documents = connection.database

    assert documents.predictions.find_one({"_id": prediction.pk})["sha256"] == prediction.sha256
    assert documents.prediction_batches.find_one({"_id": batch.pk})["source"] == "scan"
    assert documents.queued_images.find_one({"_id": image.pk})["filename"] == "a.jpg"
    assert documents.access_tokens.find_one({"_id": token.digest})["name"] == "cms"
    assert [*documents.predictions.find_one()][:1] == ["_id"]
    assert "id" not in documents.predictions.find_one()


NEWEST_FIRST = ("-pk",)
QUEUE_ORDER = ("-disputed", "margin", "pk")
LISTS = [  # each list by its filter and order
    ({}, NEWEST_FIRST, "primary key"),
    ({"pk__gte": MIDDLE}, NEWEST_FIRST, "primary key"),
    ({"owner": "0123456789abcdef01234567"}, NEWEST_FIRST, "prediction_owner"),
    ({"label": "FAKE"}, NEWEST_FIRST, "prediction_label"),
    ({"review_status": "confirmed"}, NEWEST_FIRST, "prediction_review"),
    ({"uncertain": True}, NEWEST_FIRST, "prediction_uncertain"),
    ({"batch": MIDDLE}, NEWEST_FIRST, "prediction_batch"),
    ({"source": "scan"}, NEWEST_FIRST, "prediction_source"),
    ({"model_version": "1"}, NEWEST_FIRST, "prediction_model"),
    ({"fake_score__gte": 0.9}, NEWEST_FIRST, "prediction_score"),
    ({"agreement": "contradicts"}, NEWEST_FIRST, "prediction_agreement"),
    ({"batch": MIDDLE}, ("batch_index",), "prediction_batch_index"),
    ({"declares": "generated"}, NEWEST_FIRST, "prediction_declares"),
    ({"review_status": "unreviewed", "reason": ""}, QUEUE_ORDER, "prediction_queue"),
    (
        {"review_status": "unreviewed", "reason": "", "margin__gte": 0.1},
        QUEUE_ORDER,
        "prediction_queue",
    ),
    ({"sha256": "0" * 64}, NEWEST_FIRST, "prediction_duplicate"),
    ({"created_at__gte": MOMENT, "created_at__lt": MOMENT}, (), "prediction_created"),
    (
        {"owner": "0123456789abcdef01234567", "created_at__gte": MOMENT, "created_at__lt": MOMENT},
        (),
        "prediction_owner_created",
    ),
]


def serves(fields: list[str], filters: dict[str, object], order: tuple[str, ...]) -> bool:
    """MongoDB's rule for an index: what is equal, then the order either way round, then ranges."""
    equal = {name for name in filters if "__" not in name}
    ranges = [name.partition("__")[0].replace("pk", "id") for name in filters if "__" in name]
    rest, sort = fields[len(equal) :], [each.replace("pk", "id") for each in order]
    reverse = [each[1:] if each.startswith("-") else f"-{each}" for each in sort]
    return (
        {*fields[: len(equal)]} == equal
        and rest[: len(sort)] in (sort, reverse)
        and {*ranges} <= {each.lstrip("-") for each in rest}
    )


@pytest.mark.parametrize(("filters", "order", "index"), LISTS)
def test_each_list_has_an_index_for_its_filter_and_order(filters, order, index):
    indexes = {each.name: each.fields for each in Prediction._meta.indexes}

    assert serves(indexes.get(index, ["id"]), filters, order)


def test_each_index_serves_a_list():
    assert {index for _, _, index in LISTS} == {
        "primary key",
        *(each.name for each in Prediction._meta.indexes),
    }


def test_the_server_has_these_indexes_and_no_other():
    information = connection.database.predictions.index_information()

    assert information.keys() == {"_id_", *(each.name for each in Prediction._meta.indexes)}


@pytest.mark.parametrize(
    "filters",
    [
        filters
        for filters, order, index in LISTS
        # This server plans with one condition only, and with the first field of an index.
        if len(filters) == 1 and order == NEWEST_FIRST and index != "prediction_score"
    ],
)
def test_the_server_takes_an_index_for_each_filter(filters):
    for number in range(20):
        a_prediction(fake_score=number / 20)

    plan = plan_of(Prediction.objects.filter(**filters).order_by("-pk")[:11])

    assert plan["stage"] == "IXSCAN"


@pytest.mark.parametrize(
    ("model", "filters"),
    [
        (Session, {"session_key": "x" * 32}),
        (get_user_model(), {"username": "ann"}),
        (AccessToken, {"token_key": "d3_x"}),
        (PredictionBatch, {"pk": "01JDABCDEFGHJKMNPQRSTVWXYZ"}),
    ],
)
def test_each_look_up_of_a_request_has_an_index(model, filters):
    assert plan_of(model.objects.filter(**filters).order_by())["stage"] == "IXSCAN"


def test_a_record_is_found_before_its_reviewer(client):
    """A join would read every record before one of them is selected."""
    record = a_prediction()

    queries = queries_of(lambda: client.get(f"/history/{record.pk}/"))

    assert queries[0].startswith("db.predictions.aggregate([{'$match': {'_id'")


def test_the_permissions_of_a_user_can_be_edited(admin_client, admin_user):
    """Their list is sorted by fields of a joined collection, which MongoDB names by a path."""
    assert admin_client.get(f"/admin/auth/user/{admin_user.pk}/change/").status_code == 200


def test_nothing_stands_between_filter_and_sort():
    [query] = queries_of(lambda: list(Prediction.objects.filter(label="FAKE").order_by("-pk")[:11]))
    stages = [stage for stage in ("$match", "$addFields", "$project", "$sort") if stage in query]
    assert stages == ["$match", "$sort"]


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
def test_fields_of_joined_collections_are_queried_by_their_path(fields, simpler):
    assert dotted(fields) == simpler


def test_the_permissions_of_a_group_are_those_of_its_members(moderator):
    assert moderator.has_perm("detection.review_prediction")
    assert not moderator.has_perm("detection.delete_prediction")


def test_the_duplicate_check_and_the_statistics_begin_with_an_indexed_filter():
    a_prediction()

    def duplicate_check(*sha256s: str) -> list[str]:
        return queries_of(lambda: find_scores(sha256s=sha256s, model_version="1", user=None))

    [some] = duplicate_check("1" * 64, "2" * 64)
    [statistics] = queries_of(lambda: count_predictions(user=None))

    assert some.startswith(
        "db.predictions.aggregate([{'$match': {'$and': [{'model_version': '1'}, {'sha256': {'$in'"
    )
    assert statistics.startswith("db.totals.aggregate([{'$match': {'$and': [{'_id': {'$gte': '/u")


@pytest.mark.parametrize("filters", [{"batch": MIDDLE}, {"code__gt": ""}])
def test_queued_images_are_found_by_an_index(filters):
    batch = PredictionBatch.objects.create(total_images=20, source="batch")
    for number in range(20):
        QueuedImage.objects.create(batch=batch, batch_index=number, filename="a.jpg")

    plan = plan_of(QueuedImage.objects.filter(**filters).order_by("batch_index")[:32])

    assert plan["stage"] == "IXSCAN"
