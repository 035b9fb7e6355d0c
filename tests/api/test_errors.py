from __future__ import annotations

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import ValidationError

from detection.web.errors import exception_handler
from tests.support.api import assert_refused


def handled(error: Exception):
    return exception_handler(error, {"request": RequestFactory().get("/predict")})


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing/", "/files"])
def test_an_unknown_address_has_the_shape_of_all_errors(client, path):
    sentence = assert_refused(client.get(path), 404, "not_found")

    assert sentence == "There is nothing at this address."


def test_clients_never_get_a_debug_page(client, settings):
    settings.DEBUG = True

    assert client.get("/nothing").json()["code"] == "not_found"


def test_a_wrong_host_has_the_shape_of_all_errors(client):
    response = client.get("/health/live", HTTP_HOST="evil.example")

    assert_refused(response, 400, "bad_request")


def test_a_bug_is_logged_and_not_shown(caplog):
    response = handled(KeyError("secret detail"))

    assert response.status_code == 500
    assert response.data["code"] == "internal_server_error"
    assert "secret detail" not in str(response.data)
    assert "secret detail" in caplog.text


def test_messages_by_field_become_one_sentence():
    response = handled(ValidationError({"limit": ["Must be at most 100."]}))

    assert response.data == {
        "success": False,
        "error": "limit: Must be at most 100.",
        "code": "invalid",
    }


@pytest.mark.django_db
def test_the_admin_keeps_its_own_pages(client):
    response = client.get("/admin/nothing/", follow=True)

    assert response.headers["Content-Type"].startswith("text/html")
