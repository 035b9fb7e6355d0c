"""The log line of each request, limits, and errors as pages."""

from __future__ import annotations

import gzip
import json
import logging

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pythonjsonlogger.json import JsonFormatter

from d3site.request_id import RequestIdFilter
from detection.models import Prediction
from tests.support.api import a_client, a_file, a_token, a_user, assert_refused
from tests.support.failures import raising

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

each_sign_in = pytest.mark.parametrize("path", ["/admin/login/", "/api/auth/login/", "/sign-in/"])


@pytest.fixture
def lines(caplog):
    """The lines of the requests so far, as production writes them."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(RequestIdFilter())
    options = {**django_settings.LOGGING["formatters"]["json"]}
    options["fmt"] = options.pop("format")
    formatter = JsonFormatter(**{k: v for k, v in options.items() if k != "()"})

    def read() -> list[dict]:
        records = [each for each in caplog.records if each.name == "detection.requests"]
        return [json.loads(formatter.format(record)) for record in records]

    return read


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


def test_each_request_is_one_line_with_the_facts_for_operators(client, lines):
    client.post("/predict", {"image": a_file()})

    [line] = lines()
    assert line["level"] == "INFO"
    assert (line["method"], line["path"], line["status"]) == ("POST", "/predict", 200)
    assert line["duration_ms"] > 0
    assert line["address"] == "127.0.0.1"
    assert line["code"] is None


def test_the_line_of_an_error_has_its_code(client, lines):
    client.post("/predict")
    client.get("/nothing")

    assert [line["code"] for line in lines()] == ["missing_image", "not_found"]


def test_the_id_of_a_request_is_in_its_line_and_in_the_answer(client, lines):
    response = client.get("/health/live")

    assert lines()[0]["request_id"] == response.headers["X-Request-ID"]
    assert len(response.headers["X-Request-ID"]) == 26


def test_a_proxy_may_set_the_id(client):
    response = client.get("/health/live", headers={"X-Request-ID": "trace-0af7651916cd43dd"})

    assert response.headers["X-Request-ID"] == "trace-0af7651916cd43dd"


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "new\tline", "<b>"])
def test_an_id_that_could_confuse_a_log_is_replaced(client, given):
    response = client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["X-Request-ID"] != given
    assert len(response.headers["X-Request-ID"]) == 26


def test_no_token_no_signature_and_no_content_is_logged(client, caplog, settings):
    caplog.set_level(logging.DEBUG, logger="detection")
    caplog.set_level(logging.INFO)
    settings.API_ACCESS = "token"
    token = a_token(a_user())
    program = a_client(token)

    body = program.post("/predict", {"image": a_file("holiday.jpg")}).json()
    link = body["result_image_url"]
    client.get(link.removeprefix("http://testserver"))
    program.get("/predictions", {"search": "holiday"})

    everything = caplog.text + str([record.__dict__ for record in caplog.records])
    for secret in (token, link.partition("?")[2], "search=holiday", "JFIF"):
        assert secret not in everything


def metric(client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    samples = [each for family in families for each in family.samples if each.name == name]
    return sum(each.value for each in samples if labels.items() <= each.labels.items())


def test_metrics_count_requests_verdicts_errors_and_the_models_time(client):
    def read() -> dict[str, float]:
        return {
            "requests": metric(client, "d3_http_requests_total", route="/predict/"),
            "seconds": metric(client, "d3_http_request_seconds_count", route="/predict/"),
            "verdicts": metric(client, "d3_predictions_total", source="api"),
            "refused": metric(client, "d3_refused_images_total", code="empty_image"),
            "errors": metric(client, "d3_errors_total", code="empty_image"),
            "model": metric(client, "d3_model_seconds_count"),
            "images": metric(client, "d3_model_images_total"),
        }

    before = read()
    client.post("/predict", {"image": a_file()})
    client.post("/predict", {"image": a_file(data=b"")})
    after = read()

    label = Prediction.objects.get().label
    assert metric(client, "d3_predictions_total", label=label) >= 1
    assert {name: after[name] - before[name] for name in before} == {
        "requests": 2,
        "seconds": 2,
        "verdicts": 1,
        "refused": 1,
        "errors": 1,
        "model": 1,
        "images": 1,
    }


@pytest.mark.parametrize(
    ("method", "path", "counted"),
    [
        ("GET", "/nothing/1", {"route": "unknown", "status": "404"}),
        ("MADEUP1", "/nothing", {"method": "other"}),
    ],
    ids=["addresses", "methods"],
)
def test_unknown_addresses_and_methods_have_one_metric(client, method, path, counted):
    before = metric(client, "d3_http_requests_total", **counted)
    for _ in range(3):
        client.generic(method, path)

    assert metric(client, "d3_http_requests_total", **counted) == before + 3
    page = client.get("/metrics").content.decode()
    assert "/nothing/1" not in page
    assert "MADEUP1" not in page


def test_a_bug_is_logged_with_its_cause(admin_client, caplog, monkeypatch):
    broken = raising(KeyError("what went wrong"))
    monkeypatch.setattr("detection.admin.predictions.PredictionAdmin.get_queryset", broken)
    admin_client.raise_request_exception = False

    response = admin_client.get("/admin/detection/prediction/")

    assert response.status_code == 500
    causes = [record for record in caplog.records if record.exc_info]
    assert "what went wrong" in str(causes[0].exc_info[1])
    keeps = django_settings.LOGGING["filters"]["with_cause"]["callback"]
    assert keeps(causes[0])


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


@each_sign_in
def test_failed_attempts_are_counted_and_logged_without_a_name(client, caplog, path):
    before = metric(client, "d3_failed_sign_ins_total")

    client.post(path, {"username": "perhaps a password", "password": "wrong"})

    assert metric(client, "d3_failed_sign_ins_total") == before + 1
    assert "Sign-in failed from 127.0.0.1." in caplog.messages
    assert "perhaps a password" not in caplog.text


def test_the_queue_is_measured(client):
    assert metric(client, "d3_queued_batches") == 0


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
