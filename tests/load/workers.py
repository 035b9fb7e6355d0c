"""Compare one worker with two on a slow storage: ``make benchmark-workers``.

Records are in SQLite, messages in a Redis wire server, and files in an S3 server behind a proxy
that delays each piece of a request by DELAY_SECONDS. The network is tiny: the storage takes nearly
all of the time.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.support.installation import ROOT, Installation
from tests.support.servers import RedisServer, S3Server, free_port
from tests.support.tiny_checkpoint import save_untrained
from tests.support.waiting import eventually

IMAGES = 384
DELAY_SECONDS = 0.15
BYTES = 2**16


class SlowProxy:
    """Forward connections to a local port, with a delay towards it."""

    def __init__(self, port: int) -> None:
        self.port, self._behind = free_port(), port
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._behind))
            for source, target, delay in ((client, server, DELAY_SECONDS), (server, client, 0)):
                threading.Thread(target=_pass_on, args=(source, target, delay), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    with suppress(OSError), source, target:
        while data := source.recv(BYTES):
            time.sleep(delay)
            target.sendall(data)


class Worker:
    def __init__(self, installation: Installation, name: str) -> None:
        self.log = installation.data / f"{name}.log"
        options = ["worker", "--pool", "solo", "--hostname", f"{name}@here", "--loglevel", "INFO"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "d3site", *options],
                cwd=ROOT,
                env=installation.environment,
                stdout=log,
                stderr=log,
            )
        if not eventually(lambda: "ready." in self.log.read_text(), seconds=60):
            raise RuntimeError(self.log.read_text())

    @property
    def chunks(self) -> int:
        return len(re.findall(r"judge_images\[[^]]*\] succeeded", self.log.read_text()))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def judged_by(workers: list[Worker]) -> float:
    """Return the seconds from the messages to the end of a batch of IMAGES stored images."""
    from detection.judging.predict import Upload
    from detection.models import PredictionBatch
    from detection.queue import arrivals, broker, closing
    from detection.records.batches import open_batch
    from tests.support.factories import image_bytes

    batch = open_batch(total_images=0, source="batch", status="queued", sending="open")
    seeds = (time.time_ns() % 2**31 + index for index in range(IMAGES))
    uploads = (Upload(f"{seed}.jpg", image_bytes(seed=seed)) for seed in seeds)
    [*added] = arrivals.add_in_groups(batch=batch, images=arrivals.store_images(uploads))
    closing.complete_sending(batch=batch)
    start = time.perf_counter()
    broker.send_wake_ups(batch=batch, places=range(added[-1].stop))
    done = PredictionBatch.objects.filter(pk=batch.pk, finished_at__isnull=False)
    if not eventually(done.exists, seconds=300):
        raise RuntimeError(workers[0].log.read_text())
    seconds = time.perf_counter() - start
    assert done.get().successful == IMAGES
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="d3-workers-") as name:
        folder = Path(name)
        workers: list[Worker] = []
        with (
            S3Server(folder / "s3") as s3,
            RedisServer(folder / "broker") as redis,
            ExitStack() as stack,
        ):
            checkpoint = save_untrained(folder / "tiny.safetensors")
            installation = Installation(
                folder / "data", checkpoint, s3=s3, CELERY_BROKER_URL=redis.url
            )
            os.environ.update(installation.environment)
            import django

            django.setup()
            installation.run("migrate", "--verbosity", "0")
            installation.environment["MINIO_ENDPOINT"] = f"127.0.0.1:{SlowProxy(s3.port).port}"
            times = []
            for count in (1, 2):
                workers.append(Worker(installation, f"worker{count}"))
                stack.callback(workers[-1].stop)
                before = [worker.chunks for worker in workers]
                times.append(judged_by(workers))
                time.sleep(0.5)  # the last lines of the logs
                split = [each.chunks - old for each, old in zip(workers, before, strict=True)]
                print(
                    f"{count} worker{'s' * (count > 1)}: {times[-1]:.1f} s, "
                    f"{IMAGES / times[-1]:.1f} images/s, messages by worker: {split}"
                )
            print(f"Two workers finish {times[0] / times[1]:.2f} times sooner.")


if __name__ == "__main__":
    main()
