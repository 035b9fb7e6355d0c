"""Limit how many requests with images are in the service at a time.

Requests above the limit are refused at once. Requests that neither judge, draw nor read an image
do not pass the gate.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from detection.errors import QueueFullError

IMAGES_PER_REQUEST = 4  # on average, over all admitted requests
BODIES_OF_FULL_SIZE = 5  # whose bytes together may be in memory or being received

Load = Counter[str]  # numbers, or limits, of ``requests``, ``images`` and ``size_bytes``


class Admission:
    """A gate. It admits a request that is alone, whatever its size: other limits apply to that."""

    def __init__(self, limit: Load) -> None:
        self._limit = limit
        self._inside = Load()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, *, size_bytes: int = 0) -> Iterator[Place]:
        """Hold a place for a request with one image and a body of this size until the block ends.

        Raises QueueFullError.
        """
        place = Place(self)
        place.hold(requests=1, images=1, size_bytes=size_bytes)
        try:
            yield place
        finally:
            self.leave(place.held)

    def enter(self, load: Load, *, held: Load) -> None:
        """Admit ``load`` for a request that holds ``held`` already. Raises QueueFullError."""
        with self._lock:
            after = self._inside.copy()
            after.update(load)
            is_alone = self._inside == held
            if not (is_alone or after <= self._limit):
                raise QueueFullError("Too many images are being judged; try again later.")
            self._inside = after

    def leave(self, load: Load) -> None:
        with self._lock:
            self._inside.subtract(load)


class Place:
    """The part of the gate's limits that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held = Load()

    def hold(self, **more: int) -> None:
        """Hold more requests, images or size_bytes. Raises QueueFullError."""
        self._admission.enter(Load(more), held=self.held)
        self.held.update(more)

    def hold_images(self, images: int) -> None:
        """Correct the number of images of the request. Raises QueueFullError."""
        self.hold(images=images - self.held["images"])


@contextmanager
def one_of(places: threading.BoundedSemaphore, *, refusal: str) -> Iterator[None]:
    """Hold one of the places until the block ends. Raises QueueFullError with this sentence."""
    if not places.acquire(blocking=False):
        raise QueueFullError(refusal)
    try:
        yield
    finally:
        places.release()


gate = Admission(
    Load(
        requests=settings.MAX_WAITING_REQUESTS,
        images=settings.MAX_WAITING_REQUESTS * IMAGES_PER_REQUEST,
        size_bytes=settings.MAX_REQUEST_BYTES * BODIES_OF_FULL_SIZE,
    )
)
