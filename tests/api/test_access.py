from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from detection.judging.active_detector import get_detector
from detection.judging.predict import predict_image
from detection.models import AccessToken, Prediction, PredictionBatch, now
from detection.records.batches import open_batch
from tests.support.api import a_client, a_file, a_token, a_user, assert_refused
from tests.support.factories import a_prediction, an_upload
from tests.support.people import a_moderator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint", "closed")]

RECORDS = "/api/predictions/"
OPEN_TO_ALL = ["/health", "/health/live", "/docs", "/api/schema/"]
CLOSED = [
    ("get", RECORDS),
    ("get", "/api/predictions/01M84Q580AZZY3CNE3Y34WJ3B2/"),
    ("delete", "/api/predictions/01M84Q580AZZY3CNE3Y34WJ3B2/"),
    ("get", "/api/batches/01M84Q580AZZY3CNE3Y34WJ3B2/"),
    ("get", "/api/statistics/"),
    ("get", "/metrics"),
    ("post", "/api/predict/"),
    ("post", "/api/batches/"),
    ("post", "/predict"),
    ("post", "/batch_predict"),
    ("get", "/api/db/predictions/recent"),
    ("get", "/api/db/statistics"),
]


@pytest.fixture
def ann():
    return a_user("ann")


@pytest.fixture
def open_to_all(closed, settings) -> None:
    settings.API_ACCESS = "open"


def a_record(url: str, pk: str) -> str:
    return f"{url}{pk}/"


def test_without_a_token_every_request_is_refused(client):
    for method, path in CLOSED:
        response = getattr(client, method)(path)
        assert_refused(response, 401, "not_authenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_health_and_documentation_are_open_to_all(client):
    get_detector()  # on a busy computer, loading takes longer than the health check allows

    assert [client.get(path).status_code for path in OPEN_TO_ALL] == [200] * len(OPEN_TO_ALL)


def test_a_token_identifies_its_user(ann):
    client = a_client(a_token(ann))
    answer = client.post("/api/predict/", {"image": a_file()}).json()
    batch = client.post("/api/batches/", {"images": [a_file()]}).json()

    assert Prediction.objects.get(pk=answer["id"]).owner == ann
    assert PredictionBatch.objects.get(pk=batch["batch_id"]).owner == ann
    assert client.get(RECORDS).json()["count"] == 2


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer two words",
        "Bearer d3_ünïcödé".encode().decode("latin-1"),
        f"Bearer {'a' * 5000}",
    ],
)
def test_a_wrong_token_is_refused(client, ann, header):
    a_token(ann)
    response = client.get(RECORDS, headers={"Authorization": header})

    assert_refused(response, 401, "authentication_failed")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_with_its_end_changed_is_refused(ann):
    token = a_token(ann)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")

    assert_refused(a_client(wrong).get(RECORDS), 401, "authentication_failed")
    assert a_client(token).get(RECORDS).status_code == 200


def test_a_wrong_token_is_refused_with_open_access_too(client, open_to_all):
    response = client.get(RECORDS, headers={"Authorization": "Bearer wrong"})

    assert_refused(response, 401, "authentication_failed")


def test_an_expired_token_is_refused(ann):
    client = a_client(a_token(ann, lifetime=timedelta(hours=1)))
    assert client.get(RECORDS).status_code == 200

    AccessToken.objects.update(expiry=now() - timedelta(seconds=1))

    assert_refused(client.get(RECORDS), 401, "authentication_failed")


def test_a_deleted_token_is_refused_and_the_users_other_tokens_work(ann):
    first, second = a_token(ann), a_token(ann)
    AccessToken.objects.get(token_key=first[:15]).delete()

    assert_refused(a_client(first).get(RECORDS), 401, "authentication_failed")
    assert a_client(second).get(RECORDS).status_code == 200


def test_an_inactive_user_is_refused(ann):
    client = a_client(a_token(ann))
    ann.is_active = False
    ann.save()

    assert_refused(client.get(RECORDS), 401, "authentication_failed")


def test_without_database_a_good_token_has_a_retry_after(ann, request):
    client = a_client(a_token(ann))
    request.getfixturevalue("lost_database")

    assert_refused(client.get(RECORDS), 503, "database_unavailable")


def test_only_a_hash_of_a_token_is_stored(ann):
    token = a_token(ann)

    [stored] = AccessToken.objects.values()
    assert token not in str(stored)
    assert token[len(stored["token_key"]) :] not in str(stored)
    assert len(stored["digest"]) == 128


def test_users_see_their_own_records_and_staff_see_all(ann):
    bob, sue = a_user("bob"), a_user("sue", is_staff=True)
    anns, bobs = a_prediction(owner=ann), a_prediction(owner=bob)
    nobodys = a_prediction()
    expected = {ann: {anns.pk}, bob: {bobs.pk}, sue: {anns.pk, bobs.pk, nobodys.pk}}
    for user, visible in expected.items():
        client = a_client(a_token(user))
        listed = {record["id"] for record in client.get(RECORDS).json()["predictions"]}
        retrieved = {
            prediction.pk
            for prediction in (anns, bobs, nobodys)
            if client.get(a_record(RECORDS, prediction.pk)).status_code == 200
        }
        assert listed == retrieved == visible


def test_what_belongs_to_others_is_not_found(ann):
    bob = a_user("bob")
    bobs, batch = a_prediction(owner=bob), open_batch(total_images=1, source="batch", owner=bob)
    a_prediction(owner=bob, batch=batch, batch_index=0)
    client = a_client(a_token(ann))

    for method in (client.get, client.delete):
        assert_refused(method(a_record(RECORDS, bobs.pk)), 404, "not_found")
    assert_refused(client.get(a_record("/api/batches/", batch.pk)), 404, "not_found")
    assert client.get(RECORDS, {"batch": batch.pk}).json()["count"] == 0
    assert Prediction.objects.count() == 2


@pytest.mark.parametrize("name", ["ann", "sue"])
def test_owner_and_staff_delete_record_and_files(ann, stored_files, name):
    people = {"ann": ann, "sue": a_user("sue", is_staff=True, is_superuser=True)}
    prediction = predict_image(upload=an_upload(), source="api", owner=ann)
    client = a_client(a_token(people[name]))

    response = client.delete(a_record(RECORDS, prediction.pk))

    assert (response.status_code, response.content) == (204, b"")
    assert_refused(client.get(a_record(RECORDS, prediction.pk)), 404, "not_found")
    assert_refused(client.delete(a_record(RECORDS, prediction.pk)), 404, "not_found")
    assert stored_files() == []


@pytest.mark.parametrize("access", ["open", "token"])
def test_moderators_delete_only_what_they_sent(ann, settings, access):
    settings.API_ACCESS = access
    rita = a_moderator("rita")
    client = a_client(a_token(rita))
    anns, own = a_prediction(owner=ann), a_prediction(owner=rita)

    assert client.get(a_record(RECORDS, anns.pk)).status_code == 200
    assert_refused(client.delete(a_record(RECORDS, anns.pk)), 403, "permission_denied")
    if access == "token":
        nobodys = a_record(RECORDS, a_prediction().pk)
        assert_refused(client.delete(nobodys), 403, "permission_denied")
    assert client.delete(a_record(RECORDS, own.pk)).status_code == 204


def test_with_open_access_anyone_deletes_records_without_an_owner(
    client, open_to_all, stored_files
):
    prediction = predict_image(upload=an_upload(), source="api")

    assert client.delete(a_record(RECORDS, prediction.pk)).status_code == 204
    assert not Prediction.objects.exists()
    assert stored_files() == []


def test_with_open_access_only_owners_delete_their_records(client, ann, open_to_all):
    url = a_record(RECORDS, a_prediction(owner=ann).pk)

    assert client.get(url).status_code == 200
    assert_refused(client.delete(url), 401, "not_authenticated")
    assert_refused(a_client(a_token(a_user("bob"))).delete(url), 403, "permission_denied")
    assert Prediction.objects.exists()
    assert a_client(a_token(ann)).delete(url).status_code == 204


@pytest.mark.parametrize("path", ["/api/predict/", "/predict"])
def test_a_person_signs_in_and_sends_the_csrf_token(path):
    a_user("rita", password="only for tests")
    browser = Client(enforce_csrf_checks=True)
    browser.get("/api/auth/login/")
    form = {"username": "rita", "password": "only for tests"}
    token = browser.cookies["csrftoken"].value
    assert browser.post("/api/auth/login/", {**form, "csrfmiddlewaretoken": token}).url

    assert browser.get(RECORDS).json()["count"] == 0
    assert_refused(browser.post(path, {"image": a_file()}), 403, "permission_denied")
    assert not Prediction.objects.exists()
    headers = {"X-CSRFToken": browser.cookies["csrftoken"].value}
    answer = browser.post(path, {"image": a_file()}, headers=headers).json()
    assert answer["success"] is True
    url = a_record(RECORDS, answer["id"])
    assert_refused(browser.delete(url), 403, "permission_denied")
    assert browser.delete(url, headers=headers).status_code == 204


def test_a_program_needs_no_csrf_token(ann):
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {a_token(ann)}"})

    assert client.post("/predict", {"image": a_file()}).status_code == 200


def test_metrics_are_for_staff(ann):
    assert_refused(a_client(a_token(ann)).get("/metrics"), 403, "permission_denied")
    response = a_client(a_token(a_user("sue", is_staff=True))).get("/metrics")
    assert response.status_code == 200
    assert b"d3_http_requests_total" in response.content
