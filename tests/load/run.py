"""Start the service and its servers, send it the requests of many clients, and measure."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.installation import ROOT, Installation, Service
from tests.support.servers import MongoServer, S3Server

PAIRS = ("sqlite-folder", "mongodb-s3")
CHECKPOINT = ROOT / "checkpoints" / "d3-tiny.safetensors"
MAX_GROWTH = 0.05  # of the memory, in the second half
HEAD = "{:<16} {:>9} {:>6} {:>6} {:>9} {:>9} {:>9}"
ROW = "{:<16} {:>9} {:>6} {:>6} {:>9.0f} {:>9.0f} {:>9.0f}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service. Status 0: there was none."""

    kind: str
    ms: float
    status: int
    code: str | None

    @property
    def is_refused(self) -> bool:
        return self.status == 503 and self.code == "queue_full"

    @property
    def is_failure(self) -> bool:
        if self.kind == "bad file" and 400 <= self.status < 500:
            return False
        return self.status != 200 and not self.is_refused


@dataclass(frozen=True, slots=True)
class LoadResult:
    pair: str
    clients: int
    seconds: int
    answers: list[Answer]
    memory: tuple[float, float]  # MiB, after the first half and after the second
    storage_problem: str
    locust_code: int  # not 0: a client broke, or saw an error

    @property
    def growth(self) -> float:
        return self.memory[1] / self.memory[0] - 1

    @property
    def failures(self) -> list[str]:
        bad = Counter(
            f"{answer.kind}: {answer.status} {answer.code}"
            for answer in self.answers
            if answer.is_failure
        )
        found = [f"{times} × {what}" for what, times in bad.items()]
        if not any(answer.status == 200 for answer in self.answers):
            found.append("nothing was answered")
        if self.growth > MAX_GROWTH:
            found.append(f"the memory grew by {self.growth:.1%} in the second half")
        if self.storage_problem:
            found.append(f"verify_storage: {self.storage_problem}")
        if self.locust_code:
            found.append(f"locust ended with {self.locust_code}")
        return [f"{self.pair}: {each}" for each in found]

    @property
    def table(self) -> str:
        by_kind = defaultdict(list)
        for answer in self.answers:
            by_kind[answer.kind].append(answer)
        rows = [_row(kind, by_kind[kind]) for kind in sorted(by_kind)]
        first, second = self.memory
        return "\n".join(
            [
                f"\n{self.pair}: {self.clients} clients for {self.seconds} seconds",
                HEAD.format("", "requests", "503", "bad", "p50 ms", "p95 ms", "p99 ms"),
                *rows,
                _row("all", self.answers),
                f"memory of the worker: {first:.0f} MiB after the first half, {second:.0f} MiB "
                f"after the second ({self.growth:+.1%})",
                f"verify_storage: {self.storage_problem or 'clean'}",
            ]
        )


def _row(kind: str, answers: list[Answer]) -> str:
    """Count refusals, but leave them out of the times, which they would flatter."""
    times = [answer.ms for answer in answers if not answer.is_refused] or [0.0]
    cuts = statistics.quantiles(times * 2, n=100, method="inclusive")
    refused = sum(answer.is_refused for answer in answers)
    failed = sum(answer.is_failure for answer in answers)
    return ROW.format(kind, len(answers), refused, failed, cuts[49], cuts[94], cuts[98])


def run_load(folder: Path, *, pair: str, clients: int, seconds: int) -> LoadResult:
    with _installation(folder, pair) as installation:
        assert installation.run("migrate", "--verbosity", "0")[0] == 0
        with installation.served() as service:
            answers, memory, locust_code = _crowd(folder, service, clients=clients, seconds=seconds)
        code, printed, complaints = installation.run("verify_storage", "--min-age", "0m")
    return LoadResult(
        pair=pair,
        clients=clients,
        seconds=seconds,
        answers=answers,
        memory=memory,
        storage_problem=printed + complaints if code else "",
        locust_code=locust_code,
    )


@contextmanager
def _installation(folder: Path, pair: str) -> Iterator[Installation]:
    environment = {"OMP_NUM_THREADS": str(os.cpu_count())}  # as `make run` has it
    if pair == "sqlite-folder":
        yield Installation(folder / "data", CHECKPOINT, **environment)
        return
    with MongoServer(folder / "mongo") as mongo, S3Server(folder / "s3") as s3:
        yield Installation(folder / "data", CHECKPOINT, mongo=mongo, s3=s3, **environment)


def _crowd(
    folder: Path, service: Service, *, clients: int, seconds: int
) -> tuple[list[Answer], tuple[float, float], int]:
    """Return the answers, the memory after each half, and locust's exit code."""
    file = folder / "answers"
    command = [Path(sys.executable).parent / "locust", "--locustfile", "tests/load/clients.py"]
    options = ["--headless", "--users", clients, "--spawn-rate", clients, "--host", service.url]
    rest = ["--run-time", f"{seconds}s", "--stop-timeout", "60s", "--loglevel", "WARNING"]
    with (folder / "locust.log").open("wb") as log:
        locust = subprocess.Popen(
            list(map(str, [*command, *options, *rest, "--only-summary"])),
            cwd=ROOT,
            env=os.environ | {"LOAD_TEST_ANSWERS": str(file)},
            stdout=log,
            stderr=log,
        )
        memory = _memory_after(service, seconds / 2), _memory_after(service, seconds / 2)
        code = locust.wait()
    if not file.exists():
        raise RuntimeError(f"locust did not start:\n{(folder / 'locust.log').read_text()}")
    answers = [Answer(**json.loads(line)) for line in file.read_text().splitlines()]
    return answers, memory, code


def _memory_after(service: Service, seconds: float) -> float:
    """Return the worker's memory in MiB: the median of a second, since each picture changes it."""
    time.sleep(max(seconds - 1, 0))
    samples = []
    for _ in range(10):
        samples.append(service.memory)
        time.sleep(0.1)
    return statistics.median(samples) / 2**20
