"""Limits on the requests of one token, or of one address without a token."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

if TYPE_CHECKING:
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class _Throttle(SimpleRateThrottle):
    """Count requests in Django's cache. Allow every request while the cache is lost: a lost counter
    is no reason to refuse clients.
    """

    def get_rate(self) -> str | None:
        return super().get_rate() or None

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"throttle:{self.scope}:{self._caller(request)}"

    def allow_request(self, request: Request, view: APIView) -> bool:
        try:
            return super().allow_request(request, view)
        except Exception:
            logger.exception("The cache that counts requests cannot be reached.")
            return True

    def wait(self) -> float:
        """Return the seconds until a request is allowed, also after a batch above the rate."""
        return self.history[self.num_requests - 1] + self.duration - self.now

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


class FormThrottle(_AddressThrottle):
    """Count forms of callers who are not signed in."""

    scope = "form"


class PredictThrottle(_Throttle):
    """Count images, not requests."""

    scope = "predict"

    def charge(self, request: Request, view: APIView, images: int) -> None:
        """Count further ``images`` of a request that was allowed as one."""
        if self.rate is None or images < 1:
            return
        try:
            key = self.get_cache_key(request, view)
            history = self.cache.get(key, [])
            self.cache.set(key, [self.timer()] * images + history, self.duration)
        except Exception:
            logger.exception("The cache that counts requests cannot be reached.")
