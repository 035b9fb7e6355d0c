"""An installation of the project with its own processes, records and files, as a user runs it."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.error import URLError

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.sessions.backends.db import SessionStore
from django.utils.crypto import get_random_string, salted_hmac

from tests.support.servers import MongoServer, S3Server, free_port
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
USER = "django.contrib.auth.models.AbstractBaseUser"
PASSWORD = "only for tests, and long"


class Installation:
    """An installation with SQLite and a folder, or with the servers ``mongo`` and ``s3``."""

    def __init__(
        self,
        data: Path,
        checkpoint: Path,
        *,
        mongo: MongoServer | None = None,
        s3: S3Server | None = None,
        **environment: str,
    ) -> None:
        self.data = data
        self.data.mkdir(exist_ok=True)
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "d3site.settings",
            "DATA_DIR": str(data),
            "MODEL_CHECKPOINT_PATH": str(checkpoint),
            "OMP_NUM_THREADS": "1",
            "MONGODB_URI": mongo.uri if mongo else "",
            "MINIO_ENDPOINT": s3.address if s3 else "",
            "MINIO_ACCESS_KEY": S3Server.access_key,
            "MINIO_SECRET_KEY": S3Server.secret_key,
            "MINIO_SECURE": "false",
            "MONGODB_DATABASE": f"d3-{data.name}",
            "MINIO_BUCKET": f"d3-{data.name}",
            **environment,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run ``manage.py`` and return its exit code, output and errors."""
        with self.start(*arguments) as process:
            printed, complaints = process.communicate()
        return process.returncode, printed, complaints

    def make_database(self, *superusers: str) -> None:
        """Create a migrated SQLite database, and superusers with PASSWORD."""
        shutil.copy(_migrated(), self.data / "db.sqlite3")
        for name in superusers:
            self.add_superuser(name)

    def add_superuser(self, name: str) -> None:
        password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
        self.query(
            "insert into auth_user (username, password, email, first_name, last_name,"
            " is_superuser, is_staff, is_active, date_joined)"
            f" values ('{name}', '{password}', '', '', '', 1, 1, 1, '2026-01-01 00:00:00')"
        )

    def signed_in(self, superuser: str) -> dict:
        """Return the state of a signed-in browser, since signing in with the form is slow."""
        [(pk, password)] = self.query(
            f"select id, password from auth_user where username = '{superuser}'"
        )
        salt, key = f"{USER}.get_session_auth_hash", get_random_string(32)
        session = {
            "_auth_user_id": str(pk),
            "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
            "_auth_user_hash": salted_hmac(salt, password, algorithm="sha256").hexdigest(),
        }
        data = SessionStore().encode(session)
        self.query(f"insert into django_session values ('{key}', '{data}', '2100-01-01 00:00:00')")
        cookie = {"name": "sessionid", "value": key, "domain": "127.0.0.1", "path": "/"}
        return {"cookies": [cookie], "origins": []}

    def query(self, statement: str) -> list[tuple]:
        """Return rows of the SQLite database."""
        with closing(sqlite3.connect(self.data / "db.sqlite3")) as database, database:
            return database.execute(statement).fetchall()

    @property
    def files(self) -> set[str]:
        """The names of all files in the folder."""
        folder = self.data / "files"
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    @contextmanager
    def served(self) -> Iterator[Service]:
        """Run the service under gunicorn, as ``make run`` does, while the block runs."""
        service = Service(self)
        try:
            service.start()
            yield service
        finally:
            service.stop()


@cache
def _migrated() -> Path:
    """Return a migrated database without records, made once, since migrating takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="d3-migrated-"))
    atexit.register(shutil.rmtree, folder)
    installation = Installation(folder, folder / "no checkpoint")
    code, _, complaints = installation.run("migrate", "--skip-checks", "--verbosity", "0")
    assert code == 0, complaints
    return folder / "db.sqlite3"


class Service:
    def __init__(self, installation: Installation) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = installation.data / "service.log"
        self._environment = installation.environment | {"PORT": str(self.port)}
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [Path(sys.executable).parent / "gunicorn", "--config", "gunicorn.conf.py"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._is_live():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"The service did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _is_live(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health/live", timeout=5):
                return True
        except (URLError, OSError):
            return False

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        master = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        [worker] = master.read_text().split()
        return int(worker)

    @property
    def memory(self) -> int:
        """The resident memory of the worker, in bytes."""
        pages = int(Path(f"/proc/{self.worker}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the service and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill the process and its children, and wait until none of them holds the port."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        with ExitStack() as stack:
            processes = [os.pidfd_open(int(pid)) for pid in children.split()]
            for process in processes:
                stack.callback(os.close, process)
            self._process.kill()
            for process in processes:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            self._process.wait()
            for process in processes:
                select.select([process], [], [], PATIENCE)
