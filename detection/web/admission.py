"""How many requests with images are let in at a time; the others are told at once to come later.

Whoever is let in waits in order and is answered. Requests that only read need no place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from detection.errors import QueueFullError

IMAGES_PER_REQUEST = 4  # on average: so many are let in with all the requests together
REQUESTS_OF_MOST_BYTES = 5  # as many bodies of the largest size may be in memory or on their way


@dataclass(slots=True)
class Load:
    """What is let in, or may be."""

    requests: int = 0
    images: int = 0
    size_bytes: int = 0

    def plus(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests,
            self.images + other.images,
            self.size_bytes + other.size_bytes,
        )

    def minus(self, other: Load) -> Load:
        return self.plus(Load(-other.requests, -other.images, -other.size_bytes))

    def fits(self, limit: Load) -> bool:
        return (
            self.requests <= limit.requests
            and self.images <= limit.images
            and self.size_bytes <= limit.size_bytes
        )


class Admission:
    """The door. Somebody who comes alone is let in whatever they bring: there are other limits."""

    def __init__(self, limit: Load) -> None:
        self._limit = limit
        self._inside = Load()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, *, size_bytes: int = 0) -> Iterator[Place]:
        """A place for a request with one image and a body of that size, until the block is left.

        Raises QueueFullError.
        """
        place = Place(self)
        place.hold(Load(requests=1, images=1, size_bytes=size_bytes))
        try:
            yield place
        finally:
            self.leave(place.held)

    def enter(self, load: Load, *, held: Load) -> None:
        """Lets in ``load`` beside what its owner has ``held`` until now. Raises QueueFullError."""
        with self._lock:
            after = self._inside.plus(load)
            is_alone = self._inside == held
            if not (is_alone or after.fits(self._limit)):
                raise QueueFullError("Too many images are waiting already; try again later.")
            self._inside = after

    def leave(self, load: Load) -> None:
        with self._lock:
            self._inside = self._inside.minus(load)


class Place:
    """What one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.held = Load()

    def hold(self, load: Load) -> None:
        self._admission.enter(load, held=self.held)
        self.held = self.held.plus(load)

    def hold_images(self, images: int) -> None:
        """For a request that turned out to have so many. Raises QueueFullError."""
        self.hold(Load(images=images - self.held.images))


gate = Admission(
    Load(
        requests=settings.MAX_WAITING_REQUESTS,
        images=settings.MAX_WAITING_REQUESTS * IMAGES_PER_REQUEST,
        size_bytes=settings.MAX_REQUEST_BYTES * REQUESTS_OF_MOST_BYTES,
    )
)
