from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from PIL import Image

from detection.models import Prediction
from tests.support import api
from tests.support.api import a_file, files
from tests.support.factories import image_bytes
from tests.support.image_files import encoded
from tests.support.provenance import SAYS_NOTHING

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def assert_refused(response, status: int, code: str) -> str:
    """Check that the response is an error and nothing was stored; return the sentence."""
    sentence = api.assert_refused(response, status, code)
    assert not Prediction.objects.exists()
    return sentence


@pytest.mark.parametrize("path", ["/predict", "/predict/", "/api/predict", "/api/predict/"])
def test_every_path_answers_as_the_contract_says(client, path):
    response = client.post(path, {"image": a_file()})

    body = response.json()
    stored = Prediction.objects.get()
    assert response.status_code == 200
    assert body == {
        "success": True,
        "id": stored.pk,
        "filename": "test.jpg",
        "source_url": None,
        "duplicate_of": None,
        "timestamp": stored.created_at.isoformat().replace("+00:00", "Z"),
        "prediction": {
            "label": stored.label,
            "is_fake": stored.is_fake,
            "confidence": round(stored.confidence, 6),
            "uncertain": stored.uncertain,
            "reason": None,
            "scores": {
                "real": round(1 - stored.fake_score, 6),
                "fake": round(stored.fake_score, 6),
            },
            "frame": 1,
            "judged_frames": 1,
            "meaning": None,
        },
        "provenance": SAYS_NOTHING,
        "image_info": {
            "width": 64,
            "height": 48,
            "format": "JPEG",
            "size_bytes": len(image_bytes()),
            "sha256": stored.sha256,
            "damaged": False,
            "frames": 1,
        },
        "model": {
            "name": stored.model_name,
            "version": stored.model_version,
            "threshold": stored.threshold,
        },
        "result_image_url": body["result_image_url"],
        "result_filename": stored.result_filename,
        "duration_ms": stored.duration_ms,
        "heatmap_url": None,
        "similar": None,
    }


def test_a_large_upload_on_disk_is_judged(client, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10

    response = client.post("/predict", {"image": a_file("été.jpg")})

    assert response.json()["filename"] == "été.jpg"
    assert Prediction.objects.get().original_image.read() == image_bytes()


REFUSED_FORMS = {
    "nothing": ({}, 400, "missing_image", '"image"'),
    "a file in another field": ({"file": a_file()}, 400, "missing_image", '"file"'),
    "text": ({"image": "a cat"}, 400, "missing_image", "text"),
    "several images": ({"image": [a_file(), a_file()]}, 400, "too_many_images", ""),
    "too many fields": ({f"field{n}": "x" for n in range(101)}, 400, "too_many_fields", ""),
    "too many files": ({"image": files(101)}, 400, "too_many_images", ""),
    "a long field": ({"threshold": "0" * 2**21}, 413, "request_too_large", ""),
}


@pytest.mark.parametrize(
    ("form", "status", "code", "word"), REFUSED_FORMS.values(), ids=REFUSED_FORMS
)
def test_a_form_that_is_not_one_image_is_refused(client, form, status, code, word):
    assert word in assert_refused(client.post("/predict", form), status, code)


def test_json_instead_of_a_form_is_refused(client):
    response = client.post("/predict", {"image": "x"}, content_type="application/json")

    assert_refused(response, 415, "unsupported_media_type")


def test_a_broken_form_is_refused(client):
    response = client.post("/predict", b"--x\r\n", content_type="multipart/form-data")

    assert_refused(response, 400, "parse_error")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "empty_image"),
        (image_bytes()[:-500], 400, "truncated_image"),
        (b"just some text, long enough to be a file", 415, "unsupported_image_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image_type"),
    ],
)
def test_a_bad_image_is_refused(client, data, status, code, stored_files):
    assert_refused(client.post("/predict", {"image": a_file(data=data)}), status, code)
    assert stored_files() == []


def test_a_file_with_too_many_bytes_is_refused(client, settings):
    settings.MAX_UPLOAD_BYTES = 1000

    assert_refused(client.post("/predict", {"image": a_file()}), 413, "image_too_large")


def test_an_image_with_too_many_pixels_is_refused(client, settings):
    settings.MAX_IMAGE_PIXELS = 64 * 48 - 1

    assert_refused(client.post("/predict", {"image": a_file()}), 413, "too_many_pixels")


def test_a_body_that_is_too_large_is_refused_unread(client):
    response = client.post("/predict", {"image": a_file()}, CONTENT_LENGTH=str(10**12))

    assert_refused(response, 413, "request_too_large")


def test_a_body_of_unknown_length_is_refused(client):
    response = client.post("/predict", {"image": a_file()}, HTTP_TRANSFER_ENCODING="chunked")

    assert_refused(response, 411, "length_required")


def test_other_methods_are_refused(client):
    response = client.get("/predict")

    assert_refused(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_a_client_that_wants_html_gets_json(client):
    response = client.post("/predict", HTTP_ACCEPT="text/html")

    assert_refused(response, 400, "missing_image")


@pytest.mark.usefixtures("lost_database")
def test_without_database_requests_have_a_retry_after(client, stored_files):
    response = client.post("/predict", {"image": a_file()})

    api.assert_refused(response, 503, "database_unavailable")
    assert stored_files() == []


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_requests_have_a_retry_after(client):
    response = client.post("/predict", {"image": a_file()})

    assert_refused(response, 503, "storage_unavailable")


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_all_get_a_verdict(live_server):
    url = f"{live_server.url}/predict"
    with ThreadPoolExecutor(6) as threads:
        images = [{"image": image_bytes(seed=seed)} for seed in range(6)]
        sent = threads.map(lambda files: requests.post(url, files=files, timeout=60), images)
        answers = [response.json() for response in sent]

    assert all(answer["success"] for answer in answers)
    assert Prediction.objects.count() == 6
    assert len({answer["result_image_url"] for answer in answers}) == 6


@pytest.mark.django_db(transaction=True)
def test_a_client_that_sends_too_much_gets_the_sizes(live_server, settings):
    settings.MAX_UPLOAD_BYTES = 2**20

    large = {"image": b"\0" * 6 * 2**20}
    response = requests.post(f"{live_server.url}/predict", files=large, timeout=60)

    sentence = assert_refused(response, 413, "request_too_large")
    assert sentence == "The request has 6 MiB; an image may have 1 MiB."


def test_an_image_without_content_is_never_certain(client):
    blank = a_file("blank.png", encoded(Image.new("RGB", (64, 48), "navy"), "PNG"))

    body = client.post("/api/predict/", {"image": blank}).json()

    assert (body["prediction"]["uncertain"], body["prediction"]["reason"]) == (True, "no_content")
    assert Prediction.objects.get().reason == "no_content"


def test_a_file_that_lacks_a_few_pixels_is_judged_as_damaged(client):
    sample = (Path(__file__).parents[2] / "samples" / "photo-blue-periwinkle.jpg").read_bytes()

    body = client.post("/api/predict/", {"image": a_file(data=sample[: -len(sample) // 500])})

    assert body.json()["image_info"]["damaged"] is True
    assert Prediction.objects.get().damaged
