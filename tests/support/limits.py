"""Requests and caches for tests of limits."""

from __future__ import annotations

from types import SimpleNamespace

from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from tests.support.servers import RedisServer


def a_request(address: str = "127.0.0.1") -> SimpleNamespace:
    """Return the parts of a request that a throttle reads."""
    return SimpleNamespace(
        auth=None, user=AnonymousUser(), META={"REMOTE_ADDR": address}, headers={}
    )


def redis_cache(server: RedisServer) -> dict:
    """Return the setting CACHES with this server."""
    return {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": server.url,
            "OPTIONS": settings.REDIS_OPTIONS,
        }
    }
