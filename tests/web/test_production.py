"""The service in production: with a key, host names, and a proxy, and no other settings."""

from __future__ import annotations

import re

import pytest
import requests

from tests.support.api import assert_refused
from tests.support.factories import image_bytes
from tests.support.installation import Installation
from tests.support.production import PRODUCTION, THROUGH_PROXY, browser, sent

pytestmark = pytest.mark.own_servers


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return PRODUCTION | {"ALLOW_IMAGE_URLS": "true"}


def ask(service, path: str, **headers: str) -> requests.Response:
    return requests.get(
        f"{service.url}{path}", headers=THROUGH_PROXY | headers, allow_redirects=False, timeout=30
    )


def test_a_key_and_host_names_are_enough_for_a_deployment_without_warnings(
    tmp_path, tiny_checkpoint
):
    only = {name: PRODUCTION[name] for name in ("SECRET_KEY", "ALLOWED_HOSTS")}
    installation = Installation(tmp_path, tiny_checkpoint, **only)
    for name in ("SECURE_SSL_REDIRECT", "API_ACCESS", "THROTTLE_PREDICT", "THROTTLE_READ"):
        del installation.environment[name]

    code, printed, complaints = installation.run("check", "--deploy", "--fail-level", "WARNING")

    assert code == 0, complaints
    assert printed == "System check identified no issues (2 silenced).\n"


def test_open_access_is_a_warning_at_deployment(tmp_path, tiny_checkpoint):
    installation = Installation(tmp_path, tiny_checkpoint, **PRODUCTION | {"API_ACCESS": "open"})

    code, _, complaints = installation.run("check", "--deploy", "--fail-level", "WARNING")

    assert code == 1
    assert "detection.W001" in complaints


def test_plain_http_leads_to_https_but_for_machines_that_watch_the_service(service):
    redirect = ask(service, "/api/statistics/", **{"X-Forwarded-Proto": "http"})

    assert redirect.status_code == 301
    assert redirect.headers["Location"] == "https://detect.example.org/api/statistics/"
    for path, status in (("/health/live", 200), ("/metrics", 401), ("/metrics/", 401)):
        assert ask(service, path, **{"X-Forwarded-Proto": "http"}).status_code == status


def test_https_is_remembered_and_pages_are_protected(service):
    headers = ask(service, "/docs").headers

    assert headers["Strict-Transport-Security"] == "max-age=2592000"  # of this host alone
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_cookies_travel_over_https_only(service):
    cookie = ask(service, "/admin/login/").headers["Set-Cookie"]

    assert "csrftoken" in cookie
    assert "Secure" in cookie


def test_requests_without_a_token_are_refused(service):
    answer = sent(service, "/predict", {}, image=image_bytes())

    assert_refused(answer, 401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.fixture(scope="module")
def created(service, installation) -> requests.Response:
    """The answer to the admin's form for a new token."""
    [session] = installation.signed_in("ann")["cookies"]
    [(user,)] = installation.query("select id from auth_user where username = 'ann'")
    return requests.post(
        f"{service.url}/admin/detection/accesstoken/add/",
        data={"user": user, "name": "CMS", "days": "7"},
        headers=browser(session["value"]),
        allow_redirects=False,
        timeout=30,
    )


@pytest.fixture(scope="module")
def bearer(created) -> dict[str, str]:
    [token] = re.findall(r"d3_\w+", created.text)
    return {"Authorization": f"Bearer {token}"}


def test_a_new_token_is_in_the_answer_itself_and_in_no_cookie(service, created, bearer):
    assert created.status_code == 200
    assert "no-store" in created.headers["Cache-Control"]
    assert bearer["Authorization"].removeprefix("Bearer ") not in str(created.headers)
    assert "messages" not in created.headers.get("Set-Cookie", "")
    assert ask(service, "/api/statistics/", **bearer).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost:8443/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://nothing.invalid/",
    ],
)
def test_images_at_private_addresses_have_the_answer_of_missing_ones(service, bearer, url):
    answer = sent(service, "/api/predict/", bearer, image_url=url)

    sentence = assert_refused(answer, 400, "image_not_fetched")
    assert sentence == "The image URL leads to no public address that answers."


def test_other_host_names_are_refused(service):
    assert ask(service, "/health/live", Host="evil.example.org").status_code == 400


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://newsroom.example.org", True), ("https://evil.example.org", False)],
)
def test_pages_of_other_sites_may_ask_only_where_they_are_listed(service, origin, allowed):
    headers = ask(service, "/health/live", Origin=origin).headers

    assert (headers.get("Access-Control-Allow-Origin") == origin) is allowed


def test_a_header_gives_the_paths_no_prefix(service):
    assert ask(service, "/x/sign-in/", **{"SCRIPT_NAME": "/x"}).status_code == 404


def test_the_log_is_json_with_the_clients_address(service):
    ask(service, "/health/live")

    assert '"address": "203.0.113.7"' in service.log.read_text().splitlines()[-1]
