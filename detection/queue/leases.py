"""Images that wait for their turn, and the turn itself, in whichever process it comes.

The records are the truth: an image waits as long as its QueuedImage is there, and is judged by
whoever leased it. A lease runs out unless it is renewed, so the images of a process that was
killed are judged by another one; and what was done twice was done once, since the record and the
files of an image are named by its QueuedImage alone. Messages to workers are only wake-ups.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from itertools import islice
from typing import Self

from django.conf import settings
from django.db import connection
from django.db.models import F, QuerySet

from detection.d3.errors import ImageError
from detection.errors import UnavailableError, database_errors
from detection.judging import get_detector
from detection.models import NEVER_LEASED, Prediction, PredictionBatch, QueuedImage, new_id, now
from detection.queue.closing import Status, close_when_done, row_of, waiting_images
from detection.queue.judging import judge_queued, refuse_queued
from detection.records import note_refusal

logger = logging.getLogger(__name__)

CHUNK = 32  # images that are leased together; few enough that ten machines share evenly
SUSPICIOUS_TRIES = 3  # then an image is judged alone, so that it cannot harm its neighbours
MAX_TRIES = 5


class JudgingFailedError(ImageError):
    code = "judging_failed"


def judge_images(
    *,
    batch_id: str,
    first: int | None = None,
    last: int | None = None,
    is_stopped: Callable[[], bool] = bool,
) -> None:
    """Judges the images of a batch that wait and that nobody else judges, those from ``first`` to
    ``last`` or all. Closes the batch when none is left.

    Raises UnavailableError, D3Error, and whatever else judging an image may raise; what was not
    judged goes on waiting.
    """
    get_detector()  # that it cannot be loaded is held against no image
    while not is_stopped():
        with database_errors():  # each time, since its owner may have been deleted
            batch = PredictionBatch.objects.filter(pk=batch_id).first()
        if batch is None:  # it was deleted meanwhile
            return
        with Lease.take(batch=batch, first=first, last=last) as lease:
            if not lease.images:
                break
            _judge(batch, lease.images, is_stopped)
    close_when_done(batch_id=batch_id)


def _judge(
    batch: PredictionBatch, images: list[QueuedImage], is_stopped: Callable[[], bool]
) -> None:
    with database_errors():
        row_of(batch).filter(status=Status.QUEUED).update(status=Status.RUNNING)
    judged: list[str] = []
    try:
        with closing(judge_queued(batch=batch, images=_not_judged(images))) as outcomes:
            for outcome in outcomes:
                if outcome.prediction:
                    judged.append(outcome.prediction.pk)
                if is_stopped():
                    break
    finally:
        with database_errors():
            QueuedImage.objects.filter(pk__in=judged).delete()


def _not_judged(images: list[QueuedImage]) -> list[QueuedImage]:
    """Without those whose prediction was written by somebody who was killed right after it, and
    without those that were tried too often.
    """
    again = [image.pk for image in images if image.tries > 1]
    if not again:
        return images
    with database_errors():
        predictions = Prediction.objects.filter(pk__in=again).order_by()
        judged = set(predictions.values_list("pk", flat=True))
        QueuedImage.objects.filter(pk__in=judged).delete()
    left = []
    for image in images:
        if image.tries > MAX_TRIES and image.pk not in judged:
            sentence = f"Judging this image broke off {MAX_TRIES} times; it is not tried again."
            refuse_queued(image=image, error=JudgingFailedError(sentence))
            note_refusal(code=JudgingFailedError.code, source=image.batch.source)
        elif image.pk not in judged:
            left.append(image)
    return left


class Lease:
    """Images that nobody else judges while the block runs."""

    def __init__(self, images: list[QueuedImage], name: str) -> None:
        self.images = images
        self._name = name
        self._is_fault = self._is_late = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def take(cls, *, batch: PredictionBatch, first: int | None, last: int | None) -> Self:
        """The next images of the batch that are free, CHUNK at most; perhaps none."""
        _release_ended()
        with database_errors():
            while images := _free(batch, first, last):
                lease = cls(images, new_id())
                lease._take()
                if lease.images:
                    return lease
        return cls([], "")

    def _take(self) -> None:
        """Whoever else saw them free a moment ago: each goes to one of us."""
        ids = [image.pk for image in self.images]
        free = QueuedImage.objects.filter(pk__in=ids, code="", leased_until__lte=now())
        try:
            with database_errors():
                free.update(leased_by=self._name, leased_until=_lease_end(), tries=F("tries") + 1)
                self.images = list(self._mine().order_by("batch_index"))
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
        self._is_fault = is_error and not issubclass(kind, UnavailableError)
        try:
            self.release()
        except UnavailableError:
            self._is_late = True
            _ended.append(self)

    def _mine(self) -> QuerySet[QueuedImage]:
        ids = [image.pk for image in self.images]
        return QueuedImage.objects.filter(pk__in=ids, leased_by=self._name, code="")

    def release(self) -> None:
        """What is left is free at once. That something is down is not the fault of an image."""
        with database_errors():
            tries = {} if self._is_fault else {"tries": F("tries") - 1}
            if tries and self._is_late:  # it may have run out, and others have them
                ids = [image.pk for image in self.images]
                others = QueuedImage.objects.filter(pk__in=ids, code="", tries__gt=0)
                others.exclude(leased_by=self._name).update(**tries)
            self._mine().update(leased_by="", leased_until=NEVER_LEASED, **tries)

    def _renew(self) -> None:
        try:
            while not self._over.wait(settings.QUEUE_LEASE_SECONDS / 3):
                with suppress(UnavailableError), database_errors():
                    self._mine().update(leased_until=_lease_end())
        finally:
            connection.close()


# Leases that are over but could not be released, since the database was down. If they just ran out,
# it would look as if their images had broken the process.
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
    """Free images with the same number of tries; one that may be dangerous comes alone."""
    waiting, moment = waiting_images(batch).order_by("batch_index"), now()
    if first is not None and last is not None:
        waiting = waiting.filter(batch_index__gte=first, batch_index__lte=last)
    # Looked through here, so that the index by place gives them in order, however many there are.
    free = (each for each in waiting.iterator(CHUNK) if each.leased_until <= moment)
    images = list(islice(free, CHUNK))
    if images and images[0].tries >= SUSPICIOUS_TRIES:
        return images[:1]
    return [image for image in images if image.tries == images[0].tries]


def _lease_end():
    return now() + timedelta(seconds=settings.QUEUE_LEASE_SECONDS)


def free_places(*, batch: PredictionBatch, most: int) -> list[int]:
    """Places of images that wait while nobody judges them."""
    free = waiting_images(batch).filter(leased_until__lte=now()).order_by("batch_index")
    return list(free.values_list("batch_index", flat=True)[:most])


def has_waiting(*, batch: PredictionBatch) -> bool:
    return waiting_images(batch).exists()
