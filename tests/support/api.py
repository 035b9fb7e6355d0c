"""Files, clients and checks for the tests of the API."""

from __future__ import annotations

from datetime import timedelta
from urllib.request import urlopen

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from prometheus_client import REGISTRY

from detection.models import AccessToken, Prediction, PredictionBatch
from tests.support.factories import image_bytes

BATCHES = "/api/batches/"


def a_file(
    name: str = "test.jpg", data: bytes | None = None, *, seed: int = 0
) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, image_bytes(seed=seed) if data is None else data)


def files(count: int) -> list[SimpleUploadedFile]:
    return [a_file(f"{i}.jpg", image_bytes(size=(16, 12), seed=i)) for i in range(count)]


def sent(client, *files: SimpleUploadedFile, **options: str):
    """Return the response to a batch of these files."""
    return client.post(BATCHES, {"images": files, **options})


def a_user(name: str = "ann", **fields):
    return get_user_model().objects.create_user(name, **fields)


def a_token(user, *, lifetime: timedelta = timedelta(days=1)) -> str:
    return AccessToken.objects.create(user=user, name="a program", expiry=lifetime)[1]


def a_client(token: str) -> Client:
    """Return a client that sends this token with each request."""
    return Client(headers={"Authorization": f"Bearer {token}"})


def fetched(client, url: str) -> bytes:
    """Return the file behind a link, which leads to the service or to the S3 server."""
    if url.startswith("http://testserver/files/"):
        return b"".join(client.get(url).streaming_content)
    with urlopen(url) as response:
        return response.read()


def assert_refused(response, status: int, code: str) -> str:
    """Check that the response is the error envelope, and return its sentence.

    A refusal that a client may retry must say when.
    """
    body = response.json()
    assert response.status_code == status
    assert status not in (429, 503) or int(response.headers["Retry-After"]) > 0
    assert set(body) == {"success", "error", "code"}
    assert body["success"] is False
    assert body["code"] == code
    assert "Traceback" not in body["error"]
    return body["error"]


def images_judged() -> float:
    """Return how many images the model has judged since the process started."""
    return REGISTRY.get_sample_value("d3_model_images_total")


def assert_nothing_stored(stored_files) -> None:
    assert not Prediction.objects.exists()
    assert not PredictionBatch.objects.exists()
    assert stored_files() == []
