"""What a failed request leaves behind is taken back, even if what it wrote to is down just then.

A write that failed may still have happened: the answer can get lost, and a slow server can carry
it out long after we gave up. So everything that a failed request may have written is deleted at
once, tried again until database and storage let it be deleted, and looked for a second time. The
list is in memory; for a process that was killed there is ``manage.py verify_storage``.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Model

from detection.errors import DatabaseUnavailableError, StorageUnavailableError, database_errors
from detection.models import PredictionBatch, QueuedImage
from detection.records.writing import delete_predictions

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
SECOND_LOOK_SECONDS = 30.0


@dataclass(slots=True)
class _Leftover:
    """Records by primary key and files by storage key; emptied as they are deleted."""

    predictions: list[str]
    batches: list[str]
    files: list[str]
    queued: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.predictions or self.batches or self.files or self.queued)

    def copy(self) -> _Leftover:
        return _Leftover([*self.predictions], [*self.batches], [*self.files], [*self.queued])

    def delete(self) -> None:
        """Deletes what can be deleted now; the rest stays listed."""
        self.delete_records()
        self.delete_files()

    def delete_records(self) -> None:
        self.queued = _delete_records(_delete(QueuedImage), self.queued)  # before they are judged
        self.predictions = _delete_records(delete_predictions, self.predictions)
        self.batches = _delete_records(_delete(PredictionBatch), self.batches)

    def delete_files(self) -> None:
        """Stops at the first failure, since the next would take as long; then begins elsewhere."""
        while self.files:
            key = self.files.pop(0)
            if not _delete_file(key):
                self.files.append(key)
                return


def take_back(
    *,
    cause: BaseException,
    predictions: Iterable[str] = (),
    batches: Iterable[str] = (),
    files: Iterable[str] = (),
    queued: Iterable[str] = (),
) -> None:
    """Deletes records and files that may have been written before ``cause`` was raised.

    What the cause says to be down is left to another thread, so that nobody waits for it twice.
    """
    leftover = _Leftover([*predictions], [*batches], [*files], [*queued])
    if not leftover:
        return
    second_look = leftover.copy()
    if not isinstance(cause, DatabaseUnavailableError):
        leftover.delete_records()
    if not isinstance(cause, StorageUnavailableError):
        leftover.delete_files()
    if leftover:
        _waiting.add(leftover, after=0)
    _waiting.add(second_look, after=SECOND_LOOK_SECONDS)


def delete_files(keys: Iterable[str]) -> None:
    """Deletes files that are no longer wanted; those that cannot be deleted now, later."""
    leftover = _Leftover([], [], [*keys])
    leftover.delete()
    if leftover:
        _waiting.add(leftover, after=RETRY_SECONDS)


def _delete(model: type[Model]) -> Callable[[list[str]], object]:
    return lambda keys: model.objects.filter(pk__in=keys).delete()


def _delete_records(delete: Callable[[list[str]], object], keys: list[str]) -> list[str]:
    """Those that could not be deleted."""
    if not keys:
        return []
    try:
        with database_errors():
            delete(keys)
    except Exception as error:  # whatever it is, it must not hide the failure that led here
        logger.warning("The records %s cannot be deleted yet: %s", keys, error)
        return keys
    return []


def _delete_file(key: str) -> bool:
    try:
        default_storage.delete(key)
    except Exception as error:
        logger.warning("The file %s cannot be deleted yet: %s", key, error)
        return False
    return True


class _Waiting:
    """Leftovers with the time of their next try, and the thread that tries."""

    def __init__(self) -> None:
        self._due: list[tuple[float, _Leftover]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._at_hand: _Leftover | None = None

    def add(self, leftover: _Leftover, *, after: float) -> None:
        with self._changed:
            self._due.append((time.monotonic() + after, leftover))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leftovers", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while leftover := self._next():
            leftover.delete()
            connection.close()
            if leftover:
                self.add(leftover, after=RETRY_SECONDS)

    def _next(self) -> _Leftover | None:
        """Waits for the next leftover that is due; None when there is no more."""
        with self._changed:
            while self._due:
                self._due.sort(key=lambda entry: entry[0])
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    self._at_hand = self._due.pop(0)[1]
                    return self._at_hand
                self._changed.wait(wait)
            self._thread = self._at_hand = None
            return None

    def settle(self) -> None:
        """The last try, when the process ends."""
        with self._changed:
            leftovers = [leftover for _, leftover in self._due]
            self._due = []
            self._changed.notify()  # the thread has nothing to wait for any more
            if self._at_hand:
                leftovers.append(self._at_hand.copy())
        for leftover in leftovers:
            leftover.delete()
            if leftover:
                logger.error("Left behind, see manage.py verify_storage: %s", leftover)


_waiting = _Waiting()
atexit.register(_waiting.settle)
