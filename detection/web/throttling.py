"""Limit the requests of each token, or of each address without a token."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

if TYPE_CHECKING:
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

SLOTS = 12  # of a rate's time: the cache has one counter for each


class _Throttle(SimpleRateThrottle):
    """Count requests in Django's cache, by caller and by slot of time, with atomic additions.

    A request is counted first. It is allowed if the others, in the time of the rate, left room for
    it; if not, it no longer counts. So no more requests are allowed at the same moment than one
    after the other. While the cache is lost, every request is allowed.
    """

    refusal: str | None = None  # the sentence of Throttled; None: that of REST framework

    def __init__(self) -> None:
        super().__init__()
        self._counted: Counter[int] = Counter()  # of this request, by slot
        self._wait = 0.0

    def get_rate(self) -> str | None:
        return super().get_rate() or None

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"throttle:{self.scope}:{self._caller(request)}"

    def allow_request(self, request: Request, view: APIView) -> bool:
        self.key = self.get_cache_key(request, view)
        return self._take(1)

    def check(self, request: HttpRequest, count: int = 1) -> None:
        """Count a request that REST framework does not throttle. Raises Throttled."""
        self.key = self.get_cache_key(request, None)
        self.count(count)

    def count(self, count: int) -> None:
        """Count ``count`` more images or requests for this request, before the work.

        Raises Throttled if others have used up the rate; then these do not count.
        """
        if not self._take(count):
            raise Throttled(self._wait, self.refusal)

    def wait(self) -> float:
        """Return the seconds until a request is allowed, also after a batch above the rate."""
        return self._wait

    def _take(self, count: int) -> bool:
        """Count ``count`` more for this request if others left room; return whether they did."""
        if self.rate is None or count < 1:
            return True
        with _log_lost_cache():
            others = self._count(count)
            if sum(others.values()) < self.num_requests:
                return True
            self._wait = self._seconds_until_room(others)
            self._release(count)
            return False
        return True

    def _count(self, count: int) -> dict[int, int]:
        """Add ``count`` to the present slot; return the counts of the other requests by slot.

        The next slot counts too, since another request may have read the clock a moment later.
        """
        self.now = self.timer()
        slot = int(self.now / self._slot_seconds)
        self.cache.add(self._slot_key(slot), 0, 2 * self.duration)
        after = self.cache.incr(self._slot_key(slot), count)
        self._counted[slot] += count
        slots = range(slot - SLOTS + 1, slot + 2)
        counts = self.cache.get_many([self._slot_key(each) for each in slots if each != slot])
        counts[self._slot_key(slot)] = after
        return {each: counts.get(self._slot_key(each), 0) - self._counted[each] for each in slots}

    def _seconds_until_room(self, others: dict[int, int]) -> float:
        used = sum(others.values())
        for slot, count in others.items():  # from the oldest, which the cache deletes first
            used -= count
            if used < self.num_requests:
                return (slot + SLOTS) * self._slot_seconds - self.now
        return self.duration

    def _release(self, count: int) -> None:
        """Count ``count`` less for this request, in its latest slots first."""
        for slot in sorted(self._counted, reverse=True):
            if part := min(count, self._counted[slot]):
                self._counted[slot] -= part
                count -= part
                with suppress(ValueError):  # the cache has deleted the slot already
                    self.cache.decr(self._slot_key(slot), part)

    @property
    def _slot_seconds(self) -> float:
        return self.duration / SLOTS

    def _slot_key(self, slot: int) -> str:
        return f"{self.key}:{slot}"

    def _caller(self, request: Request) -> str:
        if request.auth:
            return f"token:{request.auth.pk[:32]}"  # a part of its hash
        if request.user.is_authenticated:
            return f"user:{request.user.pk}"
        return f"address:{self.get_ident(request)}"


class ReadThrottle(_Throttle):
    scope = "read"


class _AddressThrottle(_Throttle):
    """Count by address, for requests whose user is not known yet."""

    def _caller(self, request: HttpRequest) -> str:
        return f"address:{self.get_ident(request)}"


class LoginThrottle(_AddressThrottle):
    scope = "login"
    refusal = "Too many attempts; wait a little."


class FormThrottle(_AddressThrottle):
    """Count forms of callers who are not signed in."""

    scope = "form"


class PredictThrottle(_Throttle):
    """Count images, not requests. A view finds the throttle in ``request.throttle``."""

    scope = "predict"

    def allow_request(self, request: Request, view: APIView) -> bool:
        request.throttle = self
        return super().allow_request(request, view)

    def release(self, images: int) -> None:
        """Count ``images`` less of those that ``count`` counted."""
        if self.rate is not None:
            with _log_lost_cache():
                self._release(images)

    @contextmanager
    def metered(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts work while it is done, for work of unknown amount. First
        reserve the whole rate, so that of several such requests at the same moment one is allowed.

        Raises Throttled.
        """
        if self.rate is None:
            yield lambda images: None
            return
        self.count(self.num_requests - 1)
        reserved, spent = self.num_requests, 0

        def spend(images: int) -> None:
            nonlocal reserved, spent
            spent += images
            if (missing := spent - reserved) > 0:
                more = max(missing, self.num_requests)
                reserved += more
                with _log_lost_cache():
                    self._count(more)

        try:
            yield spend
        finally:
            self.release(reserved - max(spent, 1))


class ImageUrlThrottle(_Throttle):
    """Count images that are fetched from their URLs, not requests."""

    scope = "image_url"


@contextmanager
def _log_lost_cache() -> Iterator[None]:
    """Log an error of the cache, and continue after the block."""
    try:
        yield
    except Exception:
        logger.exception("The cache that counts requests cannot be reached.")
