"""The paths of the earlier service, requested with curl as its users do."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import pytest

from detection.models import Prediction
from tests.support.factories import a_prediction, image_bytes

pytestmark = [
    pytest.mark.stateless,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("tiny_checkpoint"),
]

RECORD = "01M84Q580AZZY3CNE3Y34WJ3B2"
READ = [
    ("/health", "/health/"),
    ("/predictions", "/api/predictions/"),
    (f"/predictions/{RECORD}", f"/api/predictions/{RECORD}/"),
    ("/api/db/predictions/recent", "/api/predictions/"),
    (f"/api/db/predictions/{RECORD}", f"/api/predictions/{RECORD}/"),
    ("/api/db/predictions/by-label/FAKE", "/api/predictions/?label=FAKE"),
    ("/api/db/predictions/by-label/real", "/api/predictions/?label=REAL"),
    ("/api/db/statistics", "/api/statistics/"),
]
NEW_EACH_TIME = {
    "id", "batch_id", "duplicate_of", "timestamp", "created_at", "finished_at", "duration_ms",
    "result_filename", "similar",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: str

    def json(self) -> dict:
        assert self.content_type == "application/json"
        return json.loads(self.body)


@pytest.fixture
def curl(live_server, tmp_path):
    """A function that runs curl on a path of the service, in a folder with pictures."""
    for seed, name in enumerate(("test.jpg", "image1.jpg", "image2.jpg")):
        (tmp_path / name).write_bytes(image_bytes(seed=seed))

    def run(*arguments: str) -> Answer:
        *options, path = arguments
        report = "\n%{http_code} %{content_type}"
        output = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-w", report, *options, f"{live_server.url}{path}"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        body, _, report = output.rpartition("\n")
        status, content_type = report.split(" ", 1)
        return Answer(int(status), content_type, body)

    return run


@pytest.fixture
def two_records() -> None:
    a_prediction(id=RECORD, original_filename="a.jpg", fake_score=0.9)
    a_prediction(original_filename="b.jpg", fake_score=0.1)


def lasting(value, changing: set[str]):
    """Return the parts of a value that are the same in each answer. Links get new signatures."""
    if isinstance(value, dict):
        return {
            name: "…" if name in changing else lasting(part, changing)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [lasting(part, changing) for part in value]
    return "a link" if str(value).startswith("http://") else value


@pytest.mark.parametrize(
    "path", ["/batch_predict", "/batch_predict/", "/predict/batch", "/predict/batch/"]
)
def test_a_batch_is_judged_under_the_old_paths(curl, path):
    images = ("-F", "images=@image1.jpg", "-F", "images=@image2.jpg")
    expected = curl("-X", "POST", *images, "/api/batches/").json()

    answer = curl("-X", "POST", *images, path)

    assert answer.status == 200
    body = answer.json()
    assert (body["success"], body["successful"], body["errors"]) == (True, 2, None)
    assert [result["filename"] for result in body["results"]] == ["image1.jpg", "image2.jpg"]
    assert lasting(body, NEW_EACH_TIME) == lasting(expected, NEW_EACH_TIME)


@pytest.mark.usefixtures("two_records")
@pytest.mark.parametrize(("old", "canonical"), READ)
def test_an_old_path_has_the_same_answer(curl, old, canonical):
    expected = curl(canonical).json()
    for path in (old, f"{old}/"):
        answer = curl(path)
        assert answer.status == 200
        assert lasting(answer.json(), {"latency_ms"}) == lasting(expected, {"latency_ms"})


@pytest.mark.usefixtures("two_records")
@pytest.mark.parametrize("path", ["/api/db/predictions/recent", "/api/db/predictions/recent/"])
def test_recent_has_as_many_predictions_as_the_limit(curl, path):
    for limit, expected in (("1", ["b.jpg"]), ("10", ["b.jpg", "a.jpg"])):
        body = curl(f"{path}?limit={limit}").json()
        assert [record["filename"] for record in body["predictions"]] == expected

    refused = curl(f"{path}?limit=101")
    assert refused.status == 400
    assert refused.json()["error"].startswith("limit: ")


@pytest.mark.usefixtures("two_records")
def test_the_pages_of_an_old_path_link_to_the_next(curl, live_server):
    link = curl("/api/db/predictions/by-label/FAKE?limit=1").json()["next"]
    assert link is None
    link = curl("/api/db/predictions/recent?limit=1").json()["next"]

    [record] = curl(link.removeprefix(live_server.url)).json()["predictions"]
    assert record["id"] == RECORD


def test_an_unknown_label_is_named(curl):
    answer = curl("/api/db/predictions/by-label/blue")

    assert answer.status == 400
    assert answer.json()["error"].startswith("label: ")


def test_a_missing_record_is_not_found(curl):
    for path in (f"/api/db/predictions/{RECORD}", f"/predictions/{RECORD}", "/predictions/65f0c2"):
        answer = curl(path)
        assert answer.status == 404
        assert answer.json()["code"] == "not_found"


def test_a_record_can_be_deleted_under_the_old_path(curl):
    pk = curl("-X", "POST", "-F", "image=@test.jpg", "/predict").json()["id"]

    assert curl("-X", "DELETE", f"/predictions/{pk}").status == 204
    assert not Prediction.objects.exists()


def test_the_documentation_is_a_page_without_other_hosts(curl):
    for path in ("/docs", "/docs/", "/apidocs", "/apidocs/", "/api/docs/"):
        answer = curl(path)
        assert answer.status == 200
        assert answer.content_type.startswith("text/html")
        assert "swagger-ui" in answer.body
        assert "https://" not in answer.body
    assert curl("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css").status == 200
