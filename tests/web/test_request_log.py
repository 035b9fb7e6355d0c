"""The log line of each request, its metrics, and the log of failed attempts to sign in."""

from __future__ import annotations

import json
import logging

import pytest
from django.conf import settings as django_settings
from prometheus_client.parser import text_string_to_metric_families
from pythonjsonlogger.json import JsonFormatter

from d3site.request_id import RequestIdFilter
from detection.models import Prediction
from tests.support.api import a_client, a_file, a_token, a_user
from tests.support.failures import raising

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


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


@pytest.mark.parametrize("path", ["/admin/login/", "/api/auth/login/", "/sign-in/"])
def test_failed_attempts_are_counted_and_logged_without_a_name(client, caplog, path):
    before = metric(client, "d3_failed_sign_ins_total")

    client.post(path, {"username": "perhaps a password", "password": "wrong"})

    assert metric(client, "d3_failed_sign_ins_total") == before + 1
    assert "Sign-in failed from 127.0.0.1." in caplog.messages
    assert "perhaps a password" not in caplog.text


def test_the_queue_is_measured(client):
    assert metric(client, "d3_queued_batches") == 0
