"""Sending a folder or a part of a bucket to the workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path

from django.core.management.base import CommandError

from detection.errors import UnavailableError, database_errors
from detection.judging import Upload
from detection.management.base import reason
from detection.management.interrupts import StopSignals
from detection.models import PredictionBatch, QueuedImage
from detection.queue import (
    BatchClosedError,
    broker,
    copy_image,
    has_waiting,
    local_worker,
    refresh_counts,
    send_scan,
    store_images,
)
from detection.sources import BucketError, BucketPrefix, Listing, list_images, list_objects

BREAKS_OFF = (UnavailableError, BatchClosedError, BucketError, OSError)
EVERY_SECONDS = 5.0  # a line of progress
LOOKING_SECONDS = 0.2


class QueuedScan:
    """``run`` sends the images; without a broker it waits for the judging too, which this process
    then does.
    """

    def __init__(self, tell: Callable[[str], None], stop: StopSignals) -> None:
        self._tell, self._stop = tell, stop
        self._told = time.monotonic()

    def run(self, place: Path | BucketPrefix, *, recursive: bool, threshold: float | None) -> bool:
        """Whether it was interrupted."""
        batch = self._send(_stored(place, recursive=recursive), threshold)
        self._tell(f"{batch.total_images} images of {place} were sent.")
        if broker.is_configured():
            self._tell(f"The workers judge them; follow it at /api/batches/{batch.pk}/.")
        else:
            self._follow(batch)
        self._tell(f"Batch: {batch.pk}")
        return bool(self._stop.received)

    def _send(self, images: Iterable[QueuedImage], threshold: float | None) -> PredictionBatch:
        batch: PredictionBatch | None = None
        with closing(send_scan(images=images, threshold=threshold)) as sent:
            try:
                for batch in sent:
                    self._tell_now_and_then(f"{batch.total_images} images sent")
                    if self._stop.received:
                        break
            except (*BREAKS_OFF, KeyboardInterrupt) as error:
                if batch is None:
                    raise
                raise CommandError(
                    f"The sending broke off: {error} The {batch.total_images} images that were "
                    f"sent are judged, as batch {batch.pk}."
                ) from error
        return batch

    def _follow(self, batch: PredictionBatch) -> None:
        """Until all is judged, or somebody stops it: then the service goes on when it starts."""
        while not (self._stop.received or batch.finished_at) and local_worker.is_judging():
            with suppress(UnavailableError), database_errors():
                batch.refresh_from_db()
                refresh_counts(batch)
                self._tell_now_and_then(f"{batch.successful + batch.failed} images judged")
            time.sleep(LOOKING_SECONDS)
        local_worker.finish(within=0)
        with database_errors():
            batch.refresh_from_db()
            refresh_counts(batch)
            self._tell(f"{batch.successful} images were judged, {batch.failed} could not be read.")
            if has_waiting(batch=batch):
                self._tell(
                    "The rest waits; the service judges it when it starts, as does a next scan."
                )

    def _tell_now_and_then(self, line: str) -> None:
        if time.monotonic() - self._told > EVERY_SECONDS:
            self._tell(line)
            self._told = time.monotonic()


def _stored(place: Path | BucketPrefix, *, recursive: bool) -> Iterator[QueuedImage]:
    if isinstance(place, BucketPrefix):
        found = list_objects(place)
        first = list(islice(found, 1))  # before there is a batch: it may not be listed at all
        return store_images(chain(first, found), copy_image)
    images = open_folder(place, recursive=recursive).images
    return store_images(Upload(Path(path).name, Path(path)) for path in images)


def open_folder(path: Path, *, recursive: bool) -> Listing:
    """Return what lies in the folder. Raises CommandError if it cannot be opened."""
    try:
        return list_images(path, recursive=recursive)
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {reason(error)}.") from error
