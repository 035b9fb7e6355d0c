from __future__ import annotations

from threading import Event

import pytest

from detection.api.views import health
from detection.judging.active_detector import get_detector
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture(autouse=True)
def checked_anew(monkeypatch):
    monkeypatch.setattr(health, "_last_check", health._LastCheck())


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/ready"])
def test_every_part_is_reported(client, path):
    body = client.get(path).json()

    assert body["success"] is True
    assert body["status"] == "ok"
    assert body["device"] == "cpu"
    assert body["model"]["name"] == get_detector().info.name
    assert body["model"]["version"] == get_detector().info.version
    assert body["queue"]["mode"] == "in the process"
    for part in ("model", "database", "storage", "queue"):
        assert body[part]["ok"] is True
        assert body[part]["latency_ms"] >= 0


def test_a_health_check_leaves_no_file(client, stored_files):
    client.get("/health")

    assert stored_files() == []


def assert_down(response, *parts: str) -> None:
    body = response.json()
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert body["success"] is False
    assert body["code"] == "unavailable"
    assert body["error"] == f"Not available: {', '.join(parts)}."
    assert [name for name in parts if body[name]["ok"]] == []


@pytest.mark.usefixtures("lost_storage")
def test_a_storage_that_cannot_be_written_is_down(client):
    response = client.get("/health")

    assert_down(response, "storage")
    assert response.json()["database"]["ok"] is True


@pytest.mark.usefixtures("lost_database")
def test_a_lost_database_is_down(client):
    assert_down(client.get("/health"), "database")


@pytest.mark.usefixtures("lost_database", "lost_storage")
def test_the_process_is_live_without_database_and_storage(client):
    response = client.get("/health/live")

    assert response.status_code == 200
    assert response.json() == {"success": True, "status": "ok"}


def test_two_requests_in_a_moment_get_the_same_answer(client, monkeypatch):
    monkeypatch.setattr(health, "FRESH_SECONDS", 60)

    first, second = (client.get("/health").json() for _ in range(2))

    assert first == second


def test_a_part_that_does_not_answer_in_time_is_down(client, monkeypatch):
    monkeypatch.setattr(health, "CHECK_SECONDS", 2)
    over = Event()
    monkeypatch.setitem(health.CHECKS, "storage", lambda: {"waited": over.wait(PATIENCE)})

    response = client.get("/health")
    over.set()

    assert_down(response, "storage")
