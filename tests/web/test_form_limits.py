"""Forms to addresses that accept no images: how much is read, and from which callers."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import resolve

from detection.web import form_limits
from detection.web.uploads import is_for_images
from tests.support.api import a_file, a_user, assert_refused
from tests.support.outages import lost_records

pytestmark = [pytest.mark.stateless, pytest.mark.django_db]

ADDRESSES = [
    "/sign-in/",
    "/admin/",
    "/admin/login/",
    "/api/auth/login/",
    "/history/",
    "/predictions",
]
A_BATCH = "/api/batches/01M8BRXHYCPW1Z830MC721KX09/images/"
each_address = pytest.mark.parametrize("path", ADDRESSES)


def with_parts(count: int) -> dict[str, str]:
    return {f"field{number}": "text" for number in range(count)}


@pytest.fixture(autouse=True)
def free_logins(rates, nothing_counted):
    rates["login"] = ""


@pytest.fixture
def three_forms_a_minute(rates):
    rates["form"] = "3/min"


@pytest.mark.parametrize("path", ["/", "/predict", "/api/predict/", "/batch_predict", A_BATCH])
def test_the_views_that_accept_images_are_known(path):
    assert is_for_images(resolve(path).func, "POST")
    assert not is_for_images(resolve(path).func, "GET")


@pytest.mark.parametrize("path", [*ADDRESSES, "/api/predictions/", "/admin/review/", "/health"])
def test_other_views_accept_no_images(path):
    assert not is_for_images(resolve(path).func, "POST")


@each_address
def test_a_form_of_many_parts_is_refused(client, path):
    assert "at most 20" in assert_refused(client.post(path, with_parts(21)), 413, "too_many_parts")


def test_parts_without_names_count_too(client):
    body = b'--b\r\nContent-Disposition: form-data; name=a; filename=""\r\n\r\n\r\n' * 21
    form = "multipart/form-data; boundary=b"

    assert_refused(client.post("/sign-in/", body + b"--b--", form), 413, "too_many_parts")


@each_address
def test_a_file_is_refused(client, path):
    sentence = assert_refused(client.post(path, {"file": a_file()}), 413, "files_refused")

    assert sentence == "This address accepts no files."


@each_address
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_large_body_is_refused(client, path, content_type):
    sentence = assert_refused(
        client.post(path, b"a=" + bytes(2**20), content_type), 413, "request_too_large"
    )

    assert "a request without images may have 1 MiB" in sentence


def test_a_browser_is_answered_with_a_page():
    page = Client(headers={"Accept": "text/html"}).post("/admin/", with_parts(21))

    assert page.status_code == 413
    assert page["Content-Type"].startswith("text/html")
    assert "The form has too many parts" in page.content.decode()


@pytest.mark.parametrize("body", [b"", b"no form", b"--b\r\n"])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=é"])
def test_a_body_that_is_no_form_is_refused(client, body, content_type):
    response = client.post("/sign-in/", body, content_type)

    assert response.status_code == (400 if body else 200)


def test_a_small_form_is_read(client):
    a_user(password="only for tests")
    form = {"username": "ann", "password": "only for tests", **with_parts(18)}

    assert client.post("/sign-in/", form).status_code == 302


@pytest.mark.usefixtures("three_forms_a_minute")
def test_forms_of_one_address_are_counted(client):
    statuses = [client.post("/admin/", {"a": "b"}).status_code for _ in range(3)]
    refused = client.post("/admin/", {"a": "b"})

    assert statuses == [302] * 3
    assert_refused(refused, 429, "throttled")
    assert int(refused.headers["Retry-After"]) <= 60
    assert client.get("/sign-in/").status_code == 200
    elsewhere = client.post("/admin/", {"a": "b"}, REMOTE_ADDR="203.0.113.8")
    assert elsewhere.status_code == 302


@pytest.mark.usefixtures("three_forms_a_minute")
def test_forms_of_signed_in_users_are_not_counted(moderator_client):
    statuses = {moderator_client.post("/admin/", {"a": "b"}).status_code for _ in range(6)}

    assert statuses == {200}


def test_only_some_anonymous_forms_are_read_at_a_time(client, moderator_client):
    for _ in range(form_limits.MAX_ANONYMOUS_FORMS):
        form_limits._anonymous_forms.acquire()
    try:
        refused = client.post("/admin/", {"a": "b"})
        taken = moderator_client.post("/admin/", {"a": "b"})
    finally:
        form_limits._anonymous_forms.release(form_limits.MAX_ANONYMOUS_FORMS)

    assert_refused(refused, 503, "queue_full")
    assert taken.status_code == 200
    assert client.post("/admin/", {"a": "b"}).status_code == 302


def test_without_database_a_form_of_a_session_is_503(transactional_db, moderator_client):
    with lost_records("django_session"):
        response = moderator_client.post("/admin/", {"a": "b"})

    assert_refused(response, 503, "database_unavailable")
