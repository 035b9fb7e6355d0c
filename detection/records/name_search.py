"""Find parts of file names: with an index in SQLite, by reading the records in MongoDB.

The index is a full-text index of three letters in a row, in tables of its own, which triggers
update. Missing tables and triggers are created after each migration, since a migration that copies
the table of predictions deletes its triggers. In MongoDB such an index would be larger than the
records, so ``detection.records.paging`` limits how many records a search reads.
"""

from __future__ import annotations

from django.apps import apps
from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from detection.files import searched_text
from detection.models import Prediction

FEW = 500  # names at most that the index finds; more common names are soon found without it
LETTERS = 3  # in a search, at least, for the index
STATEMENTS = {
    "file_names": """CREATE TABLE file_names (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL)""",
    "file_name_parts": """CREATE VIRTUAL TABLE file_name_parts USING fts5(
        name, content='file_names', content_rowid='number', tokenize='trigram')""",
    "file_name_written": """CREATE TRIGGER file_name_written AFTER INSERT ON predictions BEGIN
        INSERT INTO file_names (id, name) VALUES (new._id, new.searched_name); END""",
    "file_name_deleted": """CREATE TRIGGER file_name_deleted AFTER DELETE ON predictions BEGIN
        DELETE FROM file_names WHERE id = old._id; END""",
    "file_name_added": """CREATE TRIGGER file_name_added AFTER INSERT ON file_names BEGIN
        INSERT INTO file_name_parts (rowid, name) VALUES (new.number, new.name); END""",
    "file_name_dropped": """CREATE TRIGGER file_name_dropped AFTER DELETE ON file_names BEGIN
        INSERT INTO file_name_parts (file_name_parts, rowid, name)
        VALUES ('delete', old.number, old.name); END""",
}


def find_by_name(records: QuerySet[Prediction], text: str) -> tuple[QuerySet[Prediction], bool]:
    """Return the records that have ``text`` in their file name, in any case and any Unicode form,
    and whether an index finds them.
    """
    text = searched_text(text)
    found = records.filter(searched_name__contains=text)
    few = _few_with(text) if connection.vendor == "sqlite" else None
    return (found, False) if few is None else (found.filter(pk__in=few), True)


def _few_with(text: str) -> list[str] | None:
    """Return the ids of the records with ``text`` in their name; None if there are more than FEW,
    or if the text is too short for the index.
    """
    if len(text) < LETTERS or "\0" in text:
        return None
    phrase = text.replace('"', '""')
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM file_name_parts JOIN file_names ON number = file_name_parts.rowid"
            " WHERE file_name_parts MATCH %s LIMIT %s",
            [f'"{phrase}"', FEW + 1],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    return ids if len(ids) <= FEW else None


@receiver(post_migrate, sender=apps.get_app_config("detection"))
def restore_index(using: str, **signal: object) -> None:
    """Create the index again if one of its tables or triggers is missing."""
    if connections[using].vendor != "sqlite":
        return
    existing = _tables_and_triggers(using)
    # After a migration back to zero there is no table of predictions.
    if Prediction._meta.db_table in existing and not existing >= STATEMENTS.keys():
        _create_index(using)


def _tables_and_triggers(using: str) -> set[str]:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master")
        return {name for (name,) in cursor.fetchall()}


def _create_index(using: str) -> None:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for name, command in reversed(STATEMENTS.items()):
            kind = "TRIGGER" if "TRIGGER" in command else "TABLE"
            cursor.execute(f"DROP {kind} IF EXISTS {name}")
        for command in STATEMENTS.values():
            cursor.execute(command)
        cursor.execute(
            "INSERT INTO file_names (id, name) SELECT _id, searched_name FROM predictions"
            " ORDER BY _id"
        )
