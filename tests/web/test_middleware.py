"""Limits on bodies and on attempts to sign in, and errors as pages."""

from __future__ import annotations

import gzip

import pytest
from django.db import OperationalError
from django.test import Client

from tests.support.api import a_file, a_user, assert_refused
from tests.support.failures import raising

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

each_sign_in = pytest.mark.parametrize("path", ["/admin/login/", "/api/auth/login/", "/sign-in/"])


@pytest.mark.parametrize("path", ["/predict", "/api/predict/", "/api/batches/", "/sign-in/"])
@pytest.mark.parametrize("encoding", ["gzip", "BR", "deflate, gzip"])
def test_a_compressed_body_is_refused_by_name(client, path, encoding):
    response = client.post(
        path, gzip.compress(b"a=b"), "multipart/form-data", headers={"Content-Encoding": encoding}
    )

    sentence = assert_refused(response, 415, "unsupported_content_encoding")
    assert sentence == f"The body has the Content-Encoding {encoding}; send it without an encoding."


def test_the_encoding_identity_is_accepted(client, tiny_checkpoint):
    encoding = {"Content-Encoding": "identity"}

    assert client.post("/predict", {"image": a_file()}, headers=encoding).status_code == 200


def test_a_request_without_a_body_is_not_encoded(client):
    response = client.get("/api/predictions/", headers={"Content-Encoding": "gzip"})

    assert response.status_code == 200


def test_an_error_keeps_the_headers_of_the_answer_that_it_replaces(client, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://newsroom.example.org"]

    response = client.get("/nothing", headers={"Origin": "https://newsroom.example.org"})

    assert response.json()["code"] == "not_found"
    assert response.headers["Access-Control-Allow-Origin"] == "https://newsroom.example.org"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" in response.headers


@pytest.mark.usefixtures("nothing_counted")
@each_sign_in
def test_passwords_cannot_be_tried_without_end(client, rates, path):
    rates["login"] = "3/min"

    statuses = [client.post(path, {"username": "ann"}).status_code for _ in range(4)]
    refused = client.post(path, {"username": "ann"})

    assert statuses == [200, 200, 200, 429]
    assert_refused(refused, 429, "throttled")
    assert int(refused.headers["Retry-After"]) <= 60
    assert client.get(path).status_code == 200


@pytest.mark.usefixtures("nothing_counted")
def test_a_prefix_of_the_path_hides_no_attempt(client, rates):
    rates["login"] = "3/min"

    statuses = [client.post("/sign-in/", SCRIPT_NAME=f"/{n}").status_code for n in range(4)]

    assert statuses == [200, 200, 200, 429]


@pytest.mark.parametrize("path", ["/predict", "/admin/login/", "/nothing"])
def test_a_body_that_is_too_large_is_refused_everywhere(client, settings, path):
    settings.MAX_REQUEST_BYTES = 1000

    response = client.post(path, {"image": a_file(data=b"x" * 3_000_000)})

    assert_refused(response, 413, "request_too_large")


def test_pages_say_what_may_run_in_them(client):
    policy = client.get("/docs").headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "script-src" not in policy  # so that of default-src holds: no inline scripts
    assert "frame-ancestors 'none'" in policy


def test_without_database_a_page_of_the_admin_is_503_too(transactional_db, admin_client, request):
    request.getfixturevalue("lost_database")

    response = admin_client.get("/admin/detection/prediction/")

    assert_refused(response, 503, "database_unavailable")


# Errors as pages


def by_a_browser(**options) -> Client:
    return Client(headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, **options)


def assert_page(response, status: int, words: str) -> None:
    """Check that the answer is a page that says this."""
    assert response.status_code == status
    assert response["Content-Type"].startswith("text/html")
    assert words in response.content.decode()
    assert status not in (429, 503) or int(response["Retry-After"]) > 0


@pytest.mark.usefixtures("nothing_counted")
@each_sign_in
def test_too_many_tries_to_sign_in_are_answered_with_a_page(rates, path):
    rates["login"] = "1/min"
    browser = by_a_browser()
    browser.post(path)

    assert_page(browser.post(path), 429, "Too many attempts; wait a little.")


@pytest.mark.usefixtures("nothing_counted")
@each_sign_in
def test_a_form_that_was_open_for_too_long_is_answered_with_a_page(path):
    page = by_a_browser(enforce_csrf_checks=True).post(path, {"username": "ann"})

    assert_page(page, 403, "Reload it, then send the form again.")


def test_a_lost_database_is_answered_with_a_page_at_the_sign_in(monkeypatch):
    lost = raising(OperationalError("no such database"))
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", lost)

    page = by_a_browser().post("/sign-in/", {"username": "ann", "password": "x"})

    assert_page(page, 503, "The database cannot be reached.")


def test_a_lost_database_is_answered_with_a_page_in_the_admin(admin_client, lost_database):
    page = admin_client.get("/admin/detection/prediction/", headers={"Accept": "text/html"})

    assert_page(page, 503, "The database cannot be reached.")


@pytest.mark.parametrize("path", ["/nothing", "/nothing/else.html", "/docs/nothing"])
def test_an_unknown_address_is_answered_with_a_page(path, django_assert_num_queries):
    browser = by_a_browser()
    browser.force_login(a_user())

    with django_assert_num_queries(0):  # the database may be what is lost
        page = browser.get(path)

    assert_page(page, 404, "There is nothing at this address.")
    assert "Content-Security-Policy" in page.headers


def test_a_form_that_is_too_large_is_answered_with_a_page(settings):
    settings.MAX_REQUEST_BYTES = 1000

    page = by_a_browser().post("/", {"image": a_file(data=b"x" * 3_000_000)})

    assert_page(page, 413, "a request may have")


@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing",
        "/predictions/nothing/at/all",
        "/batch_predict/nothing",
        "/health/nothing",
        "/metrics/nothing",
        "/files/nothing.jpg",
    ],
)
def test_addresses_of_the_api_answer_a_browser_in_json_too(path):
    assert by_a_browser().get(path).json()["code"] in {"not_found", "link_invalid"}


@pytest.mark.usefixtures("nothing_counted")
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_client_of_the_api_is_never_answered_with_a_page(rates, accept):
    rates["login"] = "1/min"
    client = Client(headers={"Accept": accept}, enforce_csrf_checks=True)

    assert client.get("/nothing").json()["code"] == "not_found"
    assert client.post("/sign-in/", {"username": "ann"}).json()["code"] == "forbidden"
    assert client.post("/sign-in/", {"username": "ann"}).json()["code"] == "throttled"
