"""A database without the tables of this version is refused in one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from detection.models import Prediction
from tests.support.api import a_file
from tests.support.factories import image_bytes
from tests.support.installation import ROOT, Installation
from tests.support.outages import lost_records
from tests.support.servers import MongoServer
from tests.support.settings import ON_SERVERS
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.django_db


@pytest.fixture
def old() -> Iterator[None]:
    """A database with an applied migration that no longer exists."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("detection", "0001_initial")
    yield
    recorder.record_unapplied("detection", "0001_initial")


@pytest.fixture
def not_migrated() -> Iterator[None]:
    """A database without applied migrations of the service."""
    recorder = MigrationRecorder(connection)
    applied = [name for app, name in recorder.applied_migrations() if app == "detection"]
    for name in applied:
        recorder.record_unapplied("detection", name)
    yield
    for name in applied:
        recorder.record_applied("detection", name)


@pytest.mark.usefixtures("old")
def test_migrate_says_what_to_do_with_a_database_of_an_earlier_version():
    with pytest.raises(CommandError) as error:
        call_command("migrate", verbosity=0)

    assert str(error.value) == (
        "This database was made by an earlier version: export what you need with that version, "
        "then migrate a new database (another DATA_DIR or MONGODB_DATABASE)."
    )


def test_the_command_ends_with_that_sentence_and_an_exit_code(tmp_path):
    installation = Installation(tmp_path / "data", tmp_path / "no checkpoint")
    installation.make_database()
    installation.query(
        "insert into django_migrations (app, name, applied)"
        " values ('detection', '0007_webhooks', '2026-11-26 00:00:00')"
    )

    code, printed, complaints = installation.run("migrate", "--skip-checks")

    assert (code, printed.count("Applying")) == (1, 0)
    assert complaints.startswith("CommandError: This database was made by an earlier version")
    assert len(complaints.splitlines()) == 1


@pytest.mark.usefixtures("not_migrated")
@pytest.mark.parametrize(
    "command",
    [
        ["benchmark"],
        ["create_token", "ann"],
        ["export_reviews", "data/reviews"],
        ["inspect_provenance"],
        ["purge_predictions", "--older-than", "30d"],
        ["rebuild_totals"],
        ["seed_predictions"],
        ["verify_storage"],
        ["scan_folder", "samples"],
        ["scan_folder", "samples", "--queue"],
    ],
    ids=" ".join,
)
def test_a_command_says_what_to_do_with_a_database_without_tables(command, caplog, tiny_checkpoint):
    with pytest.raises(CommandError) as error:
        call_command(*command)

    assert str(error.value) == "The database lacks tables or indexes: run manage.py migrate."
    assert caplog.records == []
    assert not Prediction.objects.exists()


@pytest.mark.skipif(ON_SERVERS, reason="MongoDB makes a collection when it is written to")
def test_a_request_says_that_tables_are_missing_but_not_at_another_loss(
    transactional_db, client, caplog
):
    sentence = "The database lacks tables or indexes: run manage.py migrate."
    with lost_records("predictions"):
        lost = client.get("/api/predictions/")
        with lost_records("django_migrations"):
            answer = client.get("/api/predictions/")
            page = client.get("/history/", headers={"Accept": "text/html"})
            verdict = client.post("/predict", {"image": a_file()})
            caplog.clear()
            client.get("/health")

    assert lost.json()["error"] == "The database cannot be reached."
    for response in (answer, verdict):
        assert (response.status_code, response.json()["error"]) == (503, sentence)
        assert response.json()["code"] == "database_unavailable"
    assert page.status_code == 503
    assert sentence in page.content.decode()
    assert f"Health: database is down: {sentence}" in caplog.messages


@pytest.fixture(params=[False, True], ids=["SQLite", "MongoDB"])
def mongo(request, tmp_path) -> Iterator[MongoServer | None]:
    if not request.param:
        yield None
        return
    with MongoServer(tmp_path / "mongo") as server:
        yield server


@pytest.mark.own_servers
def test_an_empty_database_is_refused_by_the_service_workers_and_commands(
    tmp_path, tiny_checkpoint, mongo
):
    installation = Installation(tmp_path / "data", tiny_checkpoint, mongo=mongo)
    sentence = "The database lacks tables or indexes: run manage.py migrate."
    image = tmp_path / "a.jpg"
    image.write_bytes(image_bytes())

    code, printed, complaints = installation.run("scan_folder", image)
    with pytest.raises(RuntimeError), installation.served():
        pass  # never reached
    worker = subprocess.run(
        [Path(sys.executable).parent / "celery", "-A", "d3site", "worker", "--pool", "solo"],
        cwd=ROOT,
        env=installation.environment | {"CELERY_BROKER_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert (worker.returncode, worker.stderr.splitlines()[-1]) == (1, sentence)
    assert (code, printed, complaints) == (1, "", f"CommandError: {sentence}\n")
    assert sentence in (installation.data / "service.log").read_text()
    assert installation.files == set()
