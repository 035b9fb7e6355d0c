"""Exceptions that the service raises on purpose, among them outages of what it depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from pymongo.errors import PyMongoError


class ServiceError(Exception):
    """Base of the exceptions that the service raises on purpose. ``str(error)`` is one plain
    sentence for users, ``code`` is one word for programs.
    """

    code = "invalid"


class UnavailableError(ServiceError):
    """Something that the service depends on is down. The same request may succeed later."""

    code = "unavailable"


class DatabaseUnavailableError(UnavailableError):
    code = "database_unavailable"


class MissingTablesError(DatabaseUnavailableError):
    """Migrations were not applied to the database."""

    def __init__(self) -> None:
        super().__init__("The database lacks tables or indexes: run manage.py migrate.")


class StorageUnavailableError(UnavailableError):
    code = "storage_unavailable"


class QueueFullError(UnavailableError):
    code = "queue_full"


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise DatabaseUnavailableError for a database that cannot be reached or refuses its work;
    MissingTablesError for one without tables. (MongoDB makes a collection when it is written to.)
    """
    try:
        yield
    except Exception as error:
        if not is_lost_database(error):
            raise
        if _is_without_tables(error):
            raise MissingTablesError from error
        raise DatabaseUnavailableError("The database cannot be reached.") from error


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise StorageUnavailableError for any error: storage backends have no common base class."""
    try:
        yield
    except Exception as error:
        raise StorageUnavailableError("The file storage cannot be reached.") from error


def is_lost_database(error: BaseException) -> bool:
    """Return whether the error is an outage of the database. SQL databases have classes for
    outages; MongoDB's errors are raised as they are, or are the cause of a DatabaseError.
    """
    if isinstance(error, OperationalError | InterfaceError | PyMongoError):
        return True
    return type(error) is DatabaseError and isinstance(error.__cause__, PyMongoError)


def _is_without_tables(error: BaseException) -> bool:
    """Return whether the error is that of a database in which there is no table at all."""
    if not str(error).startswith("no such table"):  # SQLite has no code for this
        return False
    try:
        return not MigrationRecorder(connection).has_table()
    except DatabaseError:
        return False
