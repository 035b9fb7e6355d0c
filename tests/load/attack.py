"""Attack the service while an honest client uses it: ``make attack``.

``python -m tests.load.attack [--seconds 15] [--only "slow heads"]`` starts a production service on
this computer, without a proxy, with SQLite and a folder. It prints for each attack how the honest
client fared. Exit code: 1 after any failure.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import Process
from pathlib import Path

import requests

from tests.load.attackers import (
    ATTACKS,
    BATCH_IMAGES,
    Attack,
    Target,
    bomb,
    client,
    picture,
    regex_lookups,
    sign_in,
    slow_closing,
    unfinished_image,
    upload_slow_name,
)
from tests.support.installation import PASSWORD, ROOT, Installation, Service

CHECKPOINT = ROOT / "checkpoints" / "d3-tiny.safetensors"
SETTINGS = {
    "SECRET_KEY": "only for this attack, and long enough for it",
    "ALLOWED_HOSTS": "127.0.0.1",
    "LISTEN_HOST": "0.0.0.0",
    "TRUSTED_PROXIES": "0",
    "SECURE_SSL_REDIRECT": "false",  # no proxy brings TLS
    "SECURE_COOKIES": "false",
    "OMP_NUM_THREADS": str(os.cpu_count()),  # as `make run` has it
    "API_ACCESS": "token",
    "THROTTLE_PREDICT": "60/min",
    "THROTTLE_READ": "600/min",
    "THROTTLE_LOGIN": "10/min",
}
HONEST = "127.0.0.1"
ATTACKER = "127.0.0.{}"
CROWD, CROWD_ADDRESSES, CROWD_READERS = "127.0.1.{}", 8, 100
CROWD_UPLOADS = 60
SECONDS = 15  # eleven attacks, a quiet time and the recovery are within five minutes
LONGER = {"all at once": 4}  # times: a minute, as the limits of the attackers' images
MAX_FACTOR = 3  # of the quiet time
MIN_IN_TIME = 0.95
RECOVERY_SECONDS = 60
MAX_GROWTH = 0.1  # of the memory
MAX_DESCRIPTORS = 5  # more than before
TIMEOUT = 8
MAKE_TOKENS = """
from datetime import timedelta
from django.contrib.auth.models import User
from detection.models import AccessToken
for user in User.objects.all():
    _, token = AccessToken.objects.create(user=user, name="attack", expiry=timedelta(days=1))
    print(user.username, token)
"""
# The requests of the honest client in turn, within its limits, and the pause between them
TURN = ("predict", "health", "history", "health", "statistics", "health", "history", "health")
THINKING = 0.15
PATHS = {
    "health": "/health/live",
    "history": "/api/predictions/?limit=20",
    "statistics": "/api/statistics/",
}
HEAD = "{:<17} {:>8} {:>8} {:>8} {:>5} {:>7} {:>8} {:>8} {:>6}"
ROW = "{:<17} {:>8} {:>8.1%} {:>8} {:>5} {:>7} {:>8.0f} {:>8.0f} {:>6}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the honest client. Status 0: there was none."""

    kind: str
    seconds: float
    status: int
    has_retry_after: bool = False

    @property
    def is_refusal(self) -> bool:
        """Whether the service answered with the time of a retry."""
        return self.status in (429, 503) and self.has_retry_after


@dataclass(frozen=True, slots=True)
class Phase:
    """The answers to the honest client during an attack, or in the quiet time."""

    name: str
    answers: list[Answer]
    quiet: dict[str, float] = field(default_factory=dict)  # seconds, by kind
    memory: int = 0  # bytes of the worker at the end

    def times(self) -> dict[str, float]:
        """Return the time within which 95 % of the answers of each kind arrived."""
        kinds = {answer.kind for answer in self.answers}
        return {kind: _percentile95([a.seconds for a in self._of(kind)]) for kind in kinds}

    def _of(self, kind: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.kind == kind]

    def is_in_time(self, answer: Answer) -> bool:
        return answer.status == 200 and answer.seconds <= MAX_FACTOR * self.quiet[answer.kind]

    @property
    def in_time(self) -> float:
        return sum(map(self.is_in_time, self.answers)) / len(self.answers)

    @property
    def failures(self) -> list[str]:
        found = []
        if self.in_time < MIN_IN_TIME:
            found.append(f"only {self.in_time:.1%} of the requests were answered in time")
        errors = [a for a in self.answers if a.status != 200 and not a.is_refusal]
        found += [f"{answer.kind}: status {answer.status}" for answer in errors]
        return [f"{self.name}: {each}" for each in found]

    @property
    def row(self) -> str:
        refused = sum(answer.is_refusal for answer in self.answers)
        unanswered = sum(answer.status == 0 for answer in self.answers)
        others = sum(answer.status not in (0, 200) for answer in self.answers) - refused
        times = [answer.seconds * 1000 for answer in self.answers]
        return ROW.format(
            self.name,
            len(self.answers),
            self.in_time,
            refused,
            others,
            unanswered,
            statistics.median(times),
            max(times),
            _mib(self.memory),
        )


@dataclass(frozen=True, slots=True)
class State:
    """The worker before or after the attacks."""

    pid: int
    descriptors: int
    memory: int  # bytes

    @classmethod
    def of(cls, service: Service) -> State:
        worker = service.worker
        return cls(worker, len(list(Path(f"/proc/{worker}/fd").iterdir())), service.memory)

    def failures(self, before: State) -> list[str]:
        found = []
        if self.pid != before.pid:
            found.append("the worker was started again")
        if self.descriptors > before.descriptors + MAX_DESCRIPTORS:
            found.append(f"{self.descriptors} open files, {before.descriptors} before")
        if self.memory > before.memory * (1 + MAX_GROWTH):
            found.append(f"{_mib(self.memory)} MiB of memory, {_mib(before.memory)} before")
        return found


def _percentile95(values: list[float]) -> float:
    return statistics.quantiles(values * 2, n=100, method="inclusive")[94]


def _mib(size: int) -> int:
    return round(size / 2**20)


class HonestClient:
    """A program with a token of its own. It opens a connection for each request."""

    def __init__(self, service: Service, token: str) -> None:
        self._url, self._headers = service.url, {"Authorization": f"Bearer {token}"}

    def ask_during(self, seconds: float) -> list[Answer]:
        answers, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            answers.append(self._ask(TURN[len(answers) % len(TURN)]))
            time.sleep(THINKING)
        return answers

    def _ask(self, kind: str) -> Answer:
        start = time.monotonic()
        try:
            response = self._send(kind)
        except requests.RequestException:
            return Answer(kind, time.monotonic() - start, 0)
        has_retry_after = "Retry-After" in response.headers
        return Answer(kind, time.monotonic() - start, response.status_code, has_retry_after)

    def _send(self, kind: str) -> requests.Response:
        with client(HONEST) as session:
            session.headers.update(self._headers)
            if kind == "predict":
                files = {"image": ("a.jpg", picture(256))}
                return session.post(f"{self._url}/api/predict/", files=files, timeout=TIMEOUT)
            return session.get(self._url + PATHS[kind], timeout=TIMEOUT)


@contextmanager
def attacked(attacks: list[Attack], targets: dict[Attack, Target]) -> Iterator[None]:
    """Attack in a process for each attack. Attackers have computers of their own, so these
    processes take only what the service and its honest client leave of the same cores.
    """

    def run(attack: Attack, address: str) -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        attack(targets[attack], address)

    processes = [
        Process(target=run, args=(attack, ATTACKER.format(number + 2)), daemon=True)
        for number, attack in enumerate(attacks)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def run_attacks(folder: Path, *, names: list[str], seconds: float) -> tuple[str, list[str]]:
    """Return the table and the failures."""
    installation = Installation(folder / "data", CHECKPOINT, **SETTINGS)
    attackers = {attack: attack.__name__ for attack in ATTACKS["all at once"]}
    installation.make_database("ann", *attackers.values())
    bomb()  # packed now, before the attacks begin
    tokens = _tokens(installation, ["ann", *attackers.values()])
    with installation.served() as service:
        honest = HonestClient(service, tokens["ann"])
        session = sign_in(service.port, attackers[regex_lookups], PASSWORD)
        targets = {
            attack: Target(service.port, tokens[name], session)
            for attack, name in attackers.items()
        }
        upload_slow_name(targets[regex_lookups])
        _warm_up(service, tokens[slow_closing.__name__], list(targets.values()))
        honest.ask_during(seconds / 2)  # the first requests are slower
        before = State.of(service)
        answers = honest.ask_during(seconds)
        quiet = Phase("quiet", answers, Phase("quiet", answers).times(), before.memory)
        phases = [quiet]
        for name in names:
            with attacked(ATTACKS[name], targets):
                answers = honest.ask_during(seconds * LONGER.get(name, 1))
            phases.append(Phase(name, answers, quiet.quiet, service.memory))
        after = _recovered(service, before)
    return _table(phases, before, after), [
        *(failure for phase in phases for failure in phase.failures),
        *after.failures(before),
    ]


def _tokens(installation: Installation, names: list[str]) -> dict[str, str]:
    """Make a token for each user, so that the limits of one attacker do not end another attack."""
    code, printed, complaints = installation.run("shell", "--no-imports", "-c", MAKE_TOKENS)
    assert code == 0, complaints
    tokens = dict(line.split() for line in printed.splitlines())
    return {name: tokens[name] for name in names}


def _warm_up(service: Service, token: str, targets: list[Target]) -> None:
    """Have the service use all its threads and judge a full batch, since both take memory for
    good.
    """
    headers = {"Authorization": f"Bearer {token}"}

    def read(number: int) -> None:
        with client(CROWD.format(1 + number % CROWD_ADDRESSES)) as session:
            session.get(service.url + PATHS["history"], headers=headers, timeout=60)

    with ThreadPoolExecutor(CROWD_READERS) as crowd, ExitStack() as uploads:
        for number in range(CROWD_UPLOADS):  # they hold threads; readers do not
            target = targets[number % len(targets)]
            address = CROWD.format(1 + number % CROWD_ADDRESSES)
            uploads.enter_context(target.connect(address)).sendall(unfinished_image(target))
        list(crowd.map(read, range(2 * CROWD_READERS)))
        uploads.close()
        files = [("images", picture()) for _ in range(BATCH_IMAGES)]
        url = f"{service.url}/api/batches/"
        requests.post(url, files=files, headers=headers, timeout=60).raise_for_status()


def _recovered(service: Service, before: State) -> State:
    """Return the state when it is as before, or after a minute."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (state := State.of(service)).failures(before) and time.monotonic() < deadline:
        time.sleep(1)
    return state


def _table(phases: list[Phase], before: State, after: State) -> str:
    quiet = phases[0].quiet
    times = ", ".join(f"{kind} {quiet[kind] * 1000:.0f} ms" for kind in sorted(quiet))
    return "\n".join(
        [
            HEAD.format(
                "", "requests", "in time", "refused", "bad", "no ans.", "p50 ms", "max ms", "MiB"
            ),
            *(phase.row for phase in phases),
            f"95 % of the answers in the quiet time: {times}",
            f"worker: {before.descriptors} open files and {_mib(before.memory)} MiB before, "
            f"{after.descriptors} and {_mib(after.memory)} MiB within a minute after; "
            f"{'the same process' if after.pid == before.pid else 'STARTED AGAIN'}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of each attack; all at once: four times"
    )
    parser.add_argument("--only", choices=ATTACKS, action="append", help="default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="d3-attack-") as folder:
        table, failures = run_attacks(
            Path(folder), names=options.only or list(ATTACKS), seconds=options.seconds
        )
    print(table)
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
