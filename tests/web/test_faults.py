"""Servers that are killed, hang, are full and start again, while the service runs.

The service is a process under gunicorn; database and storage are processes of their own.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import requests
from pymongo import MongoClient

from tests.support.api import assert_refused
from tests.support.factories import image_bytes
from tests.support.installation import Installation, Service
from tests.support.servers import MongoServer, S3Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.own_servers

IMPATIENT = "?serverSelectionTimeoutMS=1000&socketTimeoutMS=2000"
seeds = count(1)


class Surroundings:
    """The service, its database and its storage."""

    def __init__(self, folder, checkpoint) -> None:
        self.mongo, self.s3 = MongoServer(folder / "mongo"), S3Server(folder / "s3")
        self.installation = Installation(
            folder / "data",
            checkpoint,
            mongo=self.mongo,
            s3=self.s3,
            MONGODB_URI=self.mongo.uri + IMPATIENT,
            DJANGO_SETTINGS_MODULE="tests.support.worker_settings",
        )
        self.service: Service | None = None

    @property
    def database(self):
        return MongoClient(self.mongo.uri)[self.installation.environment["MONGODB_DATABASE"]]

    def predict(self) -> requests.Response:
        image = image_bytes(seed=next(seeds))
        return requests.post(f"{self.service.url}/predict", files={"image": image}, timeout=60)

    def predict_batch(self, images: int, **options: str) -> requests.Response:
        files = [("images", (f"{i}.jpg", image_bytes(seed=next(seeds)))) for i in range(images)]
        url = f"{self.service.url}/api/batches/"
        return requests.post(url, files=files, data=options, timeout=60)

    def send_for_later(self, images: int) -> requests.Response:
        accepted = self.predict_batch(images, **{"async": "true"})
        assert accepted.status_code == 202, accepted.text
        return accepted

    def stored(self) -> tuple[int, int]:
        """The numbers of stored records and files."""
        files = sum(path.is_file() for path in self.s3.folder.rglob("*"))
        return self.database["predictions"].count_documents({}), files

    def verified(self) -> str:
        """Return what verify_storage prints: no problem, or a list."""
        code, printed, complaints = self.installation.run("verify_storage", "--min-age", "0m")
        return printed + complaints if code else ""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory, tiny_checkpoint):
    around = Surroundings(tmp_path_factory.mktemp("faults"), tiny_checkpoint)
    with around.mongo, around.s3:
        assert around.installation.run("migrate", "--verbosity", "0")[0] == 0
        with around.installation.served() as around.service:
            yield around


def assert_nothing_was_stored(surroundings, before: tuple[int, int]) -> None:
    """Check that the next request works, and that earlier ones stored nothing."""
    assert surroundings.predict().status_code == 200
    assert eventually(lambda: surroundings.stored() == (before[0] + 1, before[1] + 2))


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("name", "code"), [("mongo", "database_unavailable"), ("s3", "storage_unavailable")]
)
def test_without_a_server_nothing_is_stored_and_the_next_request_after_it_works(
    surroundings, name, code, images
):
    server, before = getattr(surroundings, name), surroundings.stored()
    server.kill()
    failed = surroundings.predict() if images == 1 else surroundings.predict_batch(images)
    history = requests.get(f"{surroundings.service.url}/predictions", timeout=30)
    server.start()

    assert_refused(failed, 503, code)
    assert history.status_code == (503 if name == "mongo" else 200)
    assert_nothing_was_stored(surroundings, before)


def test_a_full_storage_stores_nothing_and_works_again_when_there_is_room(surroundings):
    before = surroundings.stored()
    surroundings.s3.fill()
    failed = surroundings.predict()
    surroundings.s3.empty()

    assert_refused(failed, 503, "storage_unavailable")
    assert_nothing_was_stored(surroundings, before)


def test_a_storage_that_refuses_the_access_keys_is_unavailable(surroundings):
    s3 = surroundings.s3
    s3.kill()
    s3.secret_key = "changed-meanwhile-0123456789"
    s3.start()
    failed = surroundings.predict()
    s3.kill()
    s3.secret_key = S3Server.secret_key
    s3.start()

    assert_refused(failed, 503, "storage_unavailable")
    assert surroundings.predict().status_code == 200


@pytest.mark.parametrize("name", ["mongo", "s3"])
def test_a_hung_server_is_unavailable_in_time_and_its_late_work_is_undone(surroundings, name):
    server, before = getattr(surroundings, name), surroundings.stored()
    server.hang()
    start = time.monotonic()
    failed = surroundings.predict()
    seconds = time.monotonic() - start
    server.resume()

    assert failed.status_code == 503
    assert seconds < 45  # it waits for two seconds, and tries twice
    # The second look finds a file that the server stores after its deletion.
    assert eventually(lambda: surroundings.stored() == before)


def test_health_reports_a_part_that_is_down_within_its_time(surroundings):
    surroundings.s3.hang()
    start = time.monotonic()
    health = requests.get(f"{surroundings.service.url}/health", timeout=30)
    seconds = time.monotonic() - start
    surroundings.s3.resume()

    assert health.status_code == 503
    assert health.json()["storage"]["ok"] is False
    assert health.json()["database"]["ok"] is True
    assert seconds < 25  # the check waits for five seconds
    ready = f"{surroundings.service.url}/health/ready"
    assert eventually(lambda: requests.get(ready, timeout=30).status_code == 200)
    # A file that the server stores late is deleted at the second look.
    assert eventually(lambda: surroundings.verified() == ""), surroundings.verified()


def test_a_queued_batch_is_finished_before_the_process_ends(surroundings):
    accepted = surroundings.send_for_later(20)
    surroundings.service.stop()
    surroundings.service.start()

    batch = requests.get(accepted.headers["Location"], timeout=60).json()
    assert (batch["status"], batch["successful"], len(batch["results"])) == ("done", 20, 20)


def test_a_batch_whose_process_was_killed_is_finished_by_the_next_one(surroundings):
    accepted = surroundings.send_for_later(60)
    waiting = surroundings.database["queued_images"]
    assert eventually(lambda: waiting.count_documents({"leased_by": {"$ne": ""}}) > 0)
    surroundings.service.kill()
    left = waiting.count_documents({})
    surroundings.service.start()

    place = accepted.headers["Location"]
    assert left > 0
    assert eventually(lambda: requests.get(place, timeout=60).json()["finished_at"])
    batch = requests.get(place, timeout=60).json()
    assert (batch["status"], batch["successful"], batch["failed"]) == ("done", 60, 0)
    assert (
        surroundings.database["predictions"].count_documents({"batch_id": batch["batch_id"]}) == 60
    )
    assert surroundings.verified() == ""


@pytest.mark.slow
def test_after_200_mixed_requests_with_random_kills_every_record_has_its_files(surroundings):
    chance, over = random.Random(1), threading.Event()

    def one(number: int) -> tuple[str, int]:
        kind = ("predict", "batch", "bad", "history", "delete")[number % 5]
        url = surroundings.service.url
        if kind == "predict":
            return kind, surroundings.predict().status_code
        if kind == "batch":
            return kind, surroundings.predict_batch(3).status_code
        if kind == "bad":
            files = {"image": b"no picture at all"}
            return kind, requests.post(f"{url}/predict", files=files, timeout=60).status_code
        history = requests.get(f"{url}/api/predictions/?limit=20", timeout=60)
        if kind == "history" or history.status_code != 200 or not history.json()["predictions"]:
            return kind, history.status_code
        pk = random.Random(number).choice(history.json()["predictions"])["id"]
        return kind, requests.delete(f"{url}/api/predictions/{pk}/", timeout=60).status_code

    def strike() -> int:
        kills = 0
        while not over.wait(chance.uniform(0.3, 1.2)):
            server = chance.choice([surroundings.mongo, surroundings.s3])
            server.kill()
            over.wait(chance.uniform(0.1, 1.0))
            server.start()
            kills += 1
        return kills

    with ThreadPoolExecutor(1) as attacker, ThreadPoolExecutor(8) as clients:
        kills = attacker.submit(strike)
        try:
            outcomes = Counter(clients.map(one, range(200)))
        finally:
            over.set()

    print(f"{kills.result()} kills: {dict(outcomes)}")
    assert kills.result() >= 5
    assert {status for _, status in outcomes} <= {200, 204, 404, 415, 503}
    assert any(status == 503 for _, status in outcomes)
    assert eventually(lambda: surroundings.verified() == ""), surroundings.verified()
    batches = surroundings.database["prediction_batches"]
    assert batches.count_documents({"status": {"$ne": "done"}}) == 0
