"""A database of an earlier version is refused in one sentence."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from tests.support.installation import Installation

pytestmark = pytest.mark.django_db


@pytest.fixture
def old() -> None:
    """A database to which a migration was applied that there is no more."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("detection", "0001_initial")
    yield
    recorder.record_unapplied("detection", "0001_initial")


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
