"""Lease queued images, so that one process at a time judges them.

Only the records count: an image is queued as long as its QueuedImage exists, and messages to
workers are no more than wake-ups. A lease ends unless it is renewed, so another process judges the
images of a process that was killed.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Self

from django.conf import settings
from django.db import connection
from django.db.models import F, QuerySet

from detection.errors import UnavailableError, database_errors
from detection.models import NEVER_LEASED, PredictionBatch, QueuedImage, new_id, now
from detection.queue.closing import queued_images

CHUNK = 32  # images that are leased together; few enough that ten machines share evenly
MAX_TRIES = 5  # to judge an image; after that, it is refused
SUSPICIOUS_TRIES = 3  # after that, an image is judged alone: it may harm other images


class Lease:
    """Images that no other process judges while the block runs."""

    def __init__(self, images: list[QueuedImage], name: str) -> None:
        self.images = images
        self._name = name
        self._has_failed = False  # judging failed, for another reason than an outage
        self._is_late = False  # the release was delayed, so the lease may have ended before it
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def take(cls, *, batch: PredictionBatch, first: int | None, last: int | None) -> Self:
        """Lease the next free images of the batch, CHUNK at most; perhaps none."""
        _release_ended()
        with database_errors():
            while images := _free(batch, first, last):
                lease = cls(images, new_id())
                lease._take()
                if lease.images:
                    return lease
        return cls([], "")

    def _take(self) -> None:
        """Lease the images. If other processes try the same, the database gives each image to one
        process.
        """
        ids = [image.pk for image in self.images]
        free = QueuedImage.objects.filter(pk__in=ids, code="", leased_until__lte=now())
        try:
            with database_errors():
                free.update(leased_by=self._name, leased_until=_lease_end(), tries=F("tries") + 1)
                self.images = list(self._leased().order_by("batch_index"))
        except UnavailableError:
            _ended.append(self)
            raise

    def __enter__(self) -> Self:
        if self.images:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if not self.images:
            return
        self._over.set()
        self._thread.join()
        is_error = kind is not None and issubclass(kind, Exception)
        self._has_failed = is_error and not issubclass(kind, UnavailableError)
        try:
            self.release()
        except UnavailableError:
            self._is_late = True
            _ended.append(self)

    def _leased(self) -> QuerySet[QueuedImage]:
        """Return those of the images that are still leased by this lease."""
        ids = [image.pk for image in self.images]
        return QueuedImage.objects.filter(pk__in=ids, leased_by=self._name, code="")

    def release(self) -> None:
        """Release the images that were not judged. Their try counts only if judging failed."""
        with database_errors():
            tries = {} if self._has_failed else {"tries": F("tries") - 1}
            if tries and self._is_late:  # other leases may have the images by now
                ids = [image.pk for image in self.images]
                others = QueuedImage.objects.filter(pk__in=ids, code="", tries__gt=0)
                others.exclude(leased_by=self._name).update(**tries)
            self._leased().update(leased_by="", leased_until=NEVER_LEASED, **tries)

    def _renew(self) -> None:
        try:
            while not self._over.wait(settings.QUEUE_LEASE_SECONDS / 3):
                with suppress(UnavailableError), database_errors():
                    self._leased().update(leased_until=_lease_end())
        finally:
            connection.close()


# Leases whose work is over and that are not released, since the database was down. Without the
# release, their images would have one more try, as if each had killed its worker.
_ended: deque[Lease] = deque()


def _release_ended() -> None:
    for _ in range(len(_ended)):
        try:
            lease = _ended.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            lease.release()
        except UnavailableError:
            _ended.append(lease)
            raise


def _free(batch: PredictionBatch, first: int | None, last: int | None) -> list[QueuedImage]:
    """Return free images with the same number of tries, or one image alone that may be harmful."""
    waiting, moment = queued_images(batch).order_by("batch_index"), now()
    if first is not None and last is not None:
        waiting = waiting.filter(batch_index__gte=first, batch_index__lte=last)
    # Not filtered by the database, so that it reads the images in order from the index by place,
    # however many there are.
    free = (each for each in waiting.iterator(CHUNK) if each.leased_until <= moment)
    images = list(islice(free, CHUNK))
    if images and images[0].tries >= SUSPICIOUS_TRIES:
        return images[:1]
    return [image for image in images if image.tries == images[0].tries]


def _lease_end() -> datetime:
    return now() + timedelta(seconds=settings.QUEUE_LEASE_SECONDS)


def free_places(*, batch: PredictionBatch, max_images: int) -> list[int]:
    """Return the places of queued images that no process judges."""
    free = queued_images(batch).filter(leased_until__lte=now()).order_by("batch_index")
    return list(free.values_list("batch_index", flat=True)[:max_images])
