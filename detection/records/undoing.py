"""Delete the records and files of a failed request, even if database or storage is down.

A write that failed may still have happened: its answer can get lost, and a slow server can carry it
out long after the time-out. So everything that a failed request may have written is deleted at
once, or as soon as database and storage allow it, and a second time somewhat later. The list is in
memory; after a kill, ``manage.py verify_storage`` finds what is left.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain

from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Model

from detection.errors import DatabaseUnavailableError, StorageUnavailableError, database_errors
from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.records.writing import delete_predictions

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
SECOND_LOOK_SECONDS = 30.0


@dataclass(slots=True)
class _Leftovers:
    """Records by primary key and files by storage key; emptied as they are deleted."""

    records: dict[type[Model], list[str]]
    files: list[str]

    def __bool__(self) -> bool:
        return bool(self.keys())

    def keys(self) -> list[str]:
        return [*chain.from_iterable(self.records.values()), *self.files]

    def delete(self) -> None:
        """Delete what can be deleted now; the rest stays listed."""
        self.delete_records()
        self.delete_files()

    def delete_records(self) -> None:
        for model, keys in self.records.items():
            if not keys:
                continue
            try:
                with database_errors():
                    if model is Prediction:
                        delete_predictions(keys)
                    else:
                        model.objects.filter(pk__in=keys).delete()
            except Exception as error:  # must not hide the failure whose writes are undone
                logger.warning("The records %s cannot be deleted yet: %s", keys, error)
            else:
                self.records[model] = []

    def delete_files(self) -> None:
        """Stop at the first failure, since another one would take as long. Move the failed key to
        the end, so that the next try begins with another one.
        """
        while self.files:
            key = self.files.pop(0)
            try:
                default_storage.delete(key)
            except Exception as error:
                logger.warning("The file %s cannot be deleted yet: %s", key, error)
                self.files.append(key)
                return


def undo_writes(
    *,
    cause: BaseException,
    predictions: Iterable[Prediction] = (),
    queued: Iterable[QueuedImage] = (),
    batches: Iterable[PredictionBatch] = (),
    files: Iterable[str] = (),
) -> None:
    """Delete records, with their files, that may have been written before ``cause`` was raised.
    ``files`` are further storage keys. Queued images may have become predictions in the meantime.

    If the cause is an outage, another thread deletes, so that the caller waits for one time-out
    only.
    """
    queued = [*queued]
    records = [*predictions, *queued]
    leftovers = _Leftovers(
        records={
            QueuedImage: [image.pk for image in queued],  # first, so that no worker judges them
            Prediction: [record.pk for record in records],
            PredictionBatch: [batch.pk for batch in batches],
        },
        files=[*files, *(key for record in records for key in record.file_keys)],
    )
    if not leftovers:
        return
    second_look = deepcopy(leftovers)
    if not isinstance(cause, DatabaseUnavailableError):
        leftovers.delete_records()
    if not isinstance(cause, StorageUnavailableError):
        leftovers.delete_files()
    if leftovers:
        _waiting.add(leftovers, after=0)
    _waiting.add(second_look, after=SECOND_LOOK_SECONDS)


def delete_files(keys: Iterable[str]) -> None:
    """Delete files that are no longer needed; retry later where the storage is down."""
    leftovers = _Leftovers({}, [*keys])
    leftovers.delete()
    if leftovers:
        _waiting.add(leftovers, after=RETRY_SECONDS)


class _Waiting:
    """Leftovers with the time of their next try, and the thread that deletes them."""

    def __init__(self) -> None:
        self._due: list[tuple[float, _Leftovers]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._current: _Leftovers | None = None

    def add(self, leftovers: _Leftovers, *, after: float) -> None:
        with self._changed:
            self._due.append((time.monotonic() + after, leftovers))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leftovers", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while leftovers := self._next():
            leftovers.delete()
            connection.close()
            if leftovers:
                self.add(leftovers, after=RETRY_SECONDS)

    def _next(self) -> _Leftovers | None:
        """Wait until leftovers are due, and return them; None when there are no more."""
        with self._changed:
            while self._due:
                self._due.sort(key=lambda entry: entry[0])
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    self._current = self._due.pop(0)[1]
                    return self._current
                self._changed.wait(wait)
            self._thread = self._current = None
            return None

    def settle(self) -> None:
        """Try a last time before the process ends."""
        with self._changed:
            last = [leftovers for _, leftovers in self._due]
            self._due = []
            self._changed.notify()  # ends the thread
            if self._current:
                last.append(deepcopy(self._current))
        for leftovers in last:
            leftovers.delete()
            if leftovers:
                logger.error("Not deleted, see manage.py verify_storage: %s", leftovers.keys())


_waiting = _Waiting()
atexit.register(_waiting.settle)
