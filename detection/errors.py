"""What the project depends on and may be down: whatever it raises becomes an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, OperationalError
from pymongo.errors import PyMongoError


class UnavailableError(Exception):
    """Something that we depend on is down; the same request may succeed later."""

    code = "unavailable"


class DatabaseUnavailableError(UnavailableError):
    code = "database_unavailable"


class StorageUnavailableError(UnavailableError):
    code = "storage_unavailable"


class QueueFullError(UnavailableError):
    code = "queue_full"


@contextmanager
def database_errors() -> Iterator[None]:
    """Raises DatabaseUnavailableError for a database that cannot be reached or refuses its work."""
    try:
        yield
    except Exception as error:
        if not is_lost_database(error):
            raise
        raise DatabaseUnavailableError("The database cannot be reached.") from error


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raises StorageUnavailableError for any error: storage backends have none in common."""
    try:
        yield
    except Exception as error:
        raise StorageUnavailableError("The file storage cannot be reached.") from error


def is_lost_database(error: BaseException) -> bool:
    """SQL databases have classes for it; MongoDB's errors come bare or as the cause."""
    if isinstance(error, OperationalError | InterfaceError | PyMongoError):
        return True
    return type(error) is DatabaseError and isinstance(error.__cause__, PyMongoError)
