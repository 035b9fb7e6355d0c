from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
import requests

from d3site.private_files import make_private
from tests.support.factories import image_bytes
from tests.support.installation import Installation
from tests.support.production import PRODUCTION

pytestmark = pytest.mark.stateless


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data folder that any user may read, as umask 022 makes it."""
    folder = tmp_path / "data"
    (folder / "files" / "results").mkdir(parents=True)
    for name in ("db.sqlite3", "db.sqlite3-wal", "secret_key", "files/results/a.jpg"):
        (folder / name).write_text("private")
        (folder / name).chmod(0o644)
    for path in (folder, folder / "files", folder / "files" / "results"):
        path.chmod(0o755)
    return folder


def test_existing_files_become_private(folder):
    assert make_private(folder) == []

    assert modes(folder) == {
        ".": 0o700,
        "db.sqlite3": 0o600,
        "db.sqlite3-wal": 0o600,
        "secret_key": 0o600,
        "files": 0o700,
        "files/results": 0o700,
        "files/results/a.jpg": 0o600,
    }


def test_what_a_link_leads_to_stays_as_it_is(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of others")
    elsewhere.chmod(0o644)
    (folder / "link").symlink_to(elsewhere)

    make_private(folder)

    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


def test_a_folder_for_everybody_stays_so(folder):
    folder.chmod(0o1777)

    make_private(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


@pytest.mark.own_servers
def test_the_service_leaves_nothing_to_others(tmp_path, tiny_checkpoint):
    """An installation of an earlier version, whose service then stores an image."""
    own = {"SECRET_KEY": "", "DEBUG": "true", "SECURE_SSL_REDIRECT": "false", "API_ACCESS": "open"}
    installation = Installation(tmp_path / "data", tiny_checkpoint, **PRODUCTION | own)
    installation.make_database()
    (installation.data / "files").mkdir()
    (installation.data / "files" / "old.jpg").write_bytes(b"old")
    (installation.data / "files" / "old.jpg").chmod(0o644)
    installation.data.chmod(0o755)
    database = sqlite3.connect(installation.data / "db.sqlite3")
    database.execute("select count(*) from predictions")  # makes the files -wal and -shm
    with closing(database), installation.served() as service:
        sent = requests.post(f"{service.url}/predict", files={"image": image_bytes()}, timeout=60)
        found = modes(installation.data)

    assert sent.status_code == 200
    assert {"db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm", "secret_key"} <= found.keys()
    assert len(installation.files) > 1
    del found["service.log"]  # the test's own
    assert {mode for mode in found.values() if mode & 0o077} == set()
