"""A client for locust: it sends images, batches and bad files, and reads the history.

The client writes each answer as a line of JSON to the file LOAD_TEST_ANSWERS.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
from itertools import count
from pathlib import Path
from typing import TextIO

from locust import HttpUser, between, events, task
from PIL import Image

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.jpg"))
SMALL = 256  # pixels: one crop of the network
BATCH_IMAGES = 8

_numbers, _clients = count(), count()
_answers: list[TextIO] = []


def _small_pictures() -> list[bytes]:
    pictures = []
    for path in SAMPLES:
        buffer = io.BytesIO()
        with Image.open(path) as image:
            image.crop((0, 0, SMALL, SMALL)).convert("RGB").save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    return pictures


LARGE = [path.read_bytes() for path in SAMPLES]
PICTURES = _small_pictures()
BAD = [b"", b"no picture at all", PICTURES[0][:2000], LARGE[0][: len(LARGE[0]) // 2], b"GIF89a"]


def unique(picture: bytes) -> bytes:
    """Return the JPEG with a new comment: the model does not judge known bytes again."""
    comment = f"{os.getpid()}-{next(_numbers)}".encode()
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


@events.test_start.add_listener
def open_answers(**_: object) -> None:
    _answers.append(Path(os.environ["LOAD_TEST_ANSWERS"]).open("w"))  # noqa: SIM115


@events.test_stop.add_listener
def close_answers(**_: object) -> None:
    _answers.pop().close()


@events.request.add_listener
def note(name: str, response_time: float, response=None, **_: object) -> None:
    """Write an answer to the file. Status 0: there was none."""
    status = response.status_code if response is not None else 0
    code = _code(response) if status >= 400 else None
    answer = {"kind": name, "ms": response_time, "status": status, "code": code}
    if _answers:  # the file is open during the test only
        print(json.dumps(answer), file=_answers[0])


def _code(response) -> str | None:
    """Return the code of an error; None for gunicorn's own page."""
    try:
        return response.json().get("code")
    except ValueError:
        return None


class Client(HttpUser):
    wait_time = between(0, 0.2)

    def on_start(self) -> None:
        """Begin with another kind of request than the last client, so that a short test has all."""
        kinds = list(dict.fromkeys(self.tasks))  # without their weights
        kinds[next(_clients) % len(kinds)](self)

    @task(10)
    def predict(self) -> None:
        self._send("predict", "/api/predict/", [("image", self._picture(PICTURES))])

    @task(1)
    def predict_large(self) -> None:
        self._send("predict, large", "/api/predict/", [("image", self._picture(LARGE))])

    @task(1)
    def batch(self) -> None:
        files = [("images", self._picture(PICTURES)) for _ in range(BATCH_IMAGES - 1)]
        bad = ("images", ("bad.jpg", random.choice(BAD)))
        self._send("batch", "/api/batches/", [*files, bad])

    @task(4)
    def history(self) -> None:
        label = random.choice(["", "&label=FAKE", "&label=REAL", "&uncertain=true"])
        self.client.get(f"/api/predictions/?limit=20{label}", name="history")

    @task(1)
    def statistics(self) -> None:
        self.client.get("/api/statistics/", name="statistics")

    @task(1)
    def health(self) -> None:
        self.client.get("/health", name="health")

    @task(2)
    def bad_file(self) -> None:
        self._send("bad file", "/api/predict/", [("image", ("bad.jpg", random.choice(BAD)))])

    def _picture(self, pictures: list[bytes]) -> tuple[str, bytes]:
        return f"{next(_numbers)}.jpg", unique(random.choice(pictures))

    def _send(self, kind: str, path: str, files: list) -> None:
        with self.client.post(path, files=files, name=kind, catch_response=True) as response:
            response.success()  # LoadResult decides what is a failure
        if response.status_code == 503:
            time.sleep(int(response.headers["Retry-After"]))
