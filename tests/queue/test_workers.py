"""Workers that are killed in the middle of a batch, and a broker that loses all its messages."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property

import pytest
import requests
from pymongo import MongoClient
from pymongo.database import Database

from tests.support.factories import image_bytes
from tests.support.installation import ROOT, Installation
from tests.support.servers import MongoServer, RedisServer, S3Server
from tests.support.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.own_servers, pytest.mark.slow]

IMAGES = 500


class Surroundings:
    """Database, storage and broker, and the processes of the service that share them."""

    def __init__(self, folder, checkpoint) -> None:
        self.mongo, self.s3 = MongoServer(folder / "mongo"), S3Server(folder / "s3")
        self.broker = RedisServer(folder / "broker")
        self.installation = Installation(
            folder / "data",
            checkpoint,
            mongo=self.mongo,
            s3=self.s3,
            CELERY_BROKER_URL=self.broker.url,
            DJANGO_SETTINGS_MODULE="tests.support.worker_settings",
        )
        self.log = folder / "celery.log"
        self._processes: list[subprocess.Popen] = []

    @cached_property
    def database(self) -> Database:
        return MongoClient(self.mongo.uri)[self.installation.environment["MONGODB_DATABASE"]]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def celery(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "celery", "-A", "d3site", *arguments]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.installation.environment, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def worker(self, name: str) -> subprocess.Popen:
        return self._worker("d3-batches,d3-scans", name, "--pool", "solo")

    def upkeep(self) -> None:
        self.celery("beat")
        self._worker("d3-upkeep", "upkeep@here", "--pool", "threads", "--concurrency", "2")

    def _worker(self, queues: str, name: str, *pool: str) -> subprocess.Popen:
        return self.celery("worker", "-Q", queues, *pool, "--hostname", name, "--loglevel", "INFO")

    def judged(self) -> int:
        return self.database["predictions"].estimated_document_count()

    def has_judged(self, count: int) -> bool:
        return eventually(lambda: self.judged() >= count, pause=0.3)

    def is_finished(self) -> bool:
        batch = self.database["prediction_batches"].find_one({}, {"finished_at": 1})
        return batch["finished_at"] is not None


@pytest.fixture
def surroundings(tmp_path, tiny_checkpoint):
    around = Surroundings(tmp_path, tiny_checkpoint)
    with around.mongo, around.s3, around.broker:
        assert around.installation.run("migrate", "--verbosity", "0")[0] == 0
        try:
            yield around
        finally:
            around.stop()


def send(url: str) -> str:
    """Send IMAGES pictures and one other file; return the URL of the batch."""
    files = [
        ("images", (f"{index}.jpg", image_bytes(size=(16, 12), seed=index)))
        for index in range(IMAGES)
    ]
    bad = ("images", ("notes.jpg", b"no picture"))
    answer = requests.post(
        f"{url}/api/batches/", files=[*files, bad], data={"async": "true"}, timeout=60
    )
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def test_after_kills_of_a_worker_and_the_broker_each_image_has_one_prediction(surroundings):
    surroundings.upkeep()
    doomed = surroundings.worker("first@here")
    with surroundings.installation.served() as service:
        surroundings.worker("second@here")  # the worker starts slowly
        place = send(service.url)
        assert surroundings.has_judged(IMAGES // 5)
        doomed.kill()
        doomed.wait()
        at_kill = surroundings.judged()
        assert surroundings.has_judged(IMAGES // 2)
        at_loss = surroundings.judged()
        surroundings.broker.kill()
        surroundings.broker.start()
        # Two leases may have to expire, one after the other.
        done = eventually(surroundings.is_finished, seconds=3 * PATIENCE, pause=0.5)
        batch = requests.get(place, timeout=30).json()

    assert done, surroundings.log.read_text()[-3000:]
    assert at_kill < IMAGES
    assert at_loss < IMAGES
    assert (batch["status"], batch["total_images"]) == ("done", IMAGES + 1)
    assert (batch["successful"], batch["failed"]) == (IMAGES, 1)
    predictions = surroundings.database["predictions"].find({}, {"batch_index": 1})
    assert sorted(each["batch_index"] for each in predictions) == list(range(IMAGES))
    assert surroundings.database["queued_images"].count_documents({}) == 0
    files = sum(path.is_file() for path in surroundings.s3.folder.rglob("*"))
    assert files == 2 * IMAGES
    code, printed, complaints = surroundings.installation.run("verify_storage", "--min-age", "0m")
    assert code == 0, printed + complaints
