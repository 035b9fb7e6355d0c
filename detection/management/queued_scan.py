"""Scan a folder, or a part of a bucket, and have the workers judge the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path

from django.core.management.base import CommandError

from detection.d3.files import reason
from detection.errors import UnavailableError, database_errors
from detection.judging import Upload
from detection.management.interrupts import StopSignals
from detection.models import PredictionBatch, QueuedImage
from detection.queue import (
    BatchClosedError,
    broker,
    copy_image,
    count_queued_images,
    local_worker,
    refresh_counts,
    send_scan,
    store_images,
)
from detection.sources import BucketError, BucketPrefix, Listing, list_images, list_objects

SENDING_ERRORS = (UnavailableError, BatchClosedError, BucketError, OSError)
PROGRESS_SECONDS = 5.0  # between two lines of progress
POLL_SECONDS = 0.2


class QueuedScan:
    """Send images to the workers. Without a broker, this process judges the images too."""

    def __init__(self, print_line: Callable[[str], None], stop: StopSignals) -> None:
        self._print, self._stop = print_line, stop
        self._progress_at = time.monotonic()

    def run(self, place: Path | BucketPrefix, *, recursive: bool, threshold: float | None) -> bool:
        """Send the images of ``place``. Return whether a signal interrupted the scan."""
        batch = self._send(_stored(place, recursive=recursive), threshold)
        self._print(f"{batch.total_images} images of {place} were sent.")
        if broker.is_configured():
            self._print(f"The workers judge them; /api/batches/{batch.pk}/ shows the progress.")
        else:
            self._follow(batch)
        self._print(f"Batch: {batch.pk}")
        return bool(self._stop.received)

    def _send(self, images: Iterable[QueuedImage], threshold: float | None) -> PredictionBatch:
        batch: PredictionBatch | None = None
        with closing(send_scan(images=images, threshold=threshold)) as sent:
            try:
                for batch in sent:
                    self._print_progress(f"{batch.total_images} images sent")
                    if self._stop.received:
                        break
            except (*SENDING_ERRORS, KeyboardInterrupt) as error:
                if batch is None:
                    raise
                cause = f": {error}" if str(error) else "."  # a KeyboardInterrupt has no text
                raise CommandError(
                    f"The sending was interrupted{cause} The {batch.total_images} images that were "
                    f"sent are judged as batch {batch.pk}."
                ) from error
        return batch

    def _follow(self, batch: PredictionBatch) -> None:
        """Print the progress until every image is judged or a signal arrives."""
        while not (self._stop.received or batch.finished_at) and local_worker.is_judging():
            with suppress(UnavailableError), database_errors():
                batch.refresh_from_db()
                refresh_counts(batch)
                self._print_progress(f"{batch.successful + batch.failed} images judged")
            time.sleep(POLL_SECONDS)
        local_worker.finish(within=0)
        with database_errors():
            batch.refresh_from_db()
            refresh_counts(batch)
            self._print(f"{batch.successful} images were judged, {batch.failed} could not be read.")
            if count_queued_images(batch):
                self._print(
                    "The other images are judged when the service starts, or with the next scan."
                )

    def _print_progress(self, line: str) -> None:
        """Print the line, but at most one line in PROGRESS_SECONDS."""
        if time.monotonic() - self._progress_at > PROGRESS_SECONDS:
            self._print(line)
            self._progress_at = time.monotonic()


def _stored(place: Path | BucketPrefix, *, recursive: bool) -> Iterator[QueuedImage]:
    if isinstance(place, BucketPrefix):
        found = list_objects(place)
        first = list(islice(found, 1))  # raises for an unreadable bucket before a batch exists
        return store_images(chain(first, found), copy_image)
    images = open_folder(place, recursive=recursive).images
    return store_images(Upload(path.name, path) for path in map(Path, images))


def open_folder(path: Path, *, recursive: bool) -> Listing:
    """Return the images of the folder. Raises CommandError if it cannot be opened."""
    try:
        return list_images(path, recursive=recursive)
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {reason(error)}.") from error
