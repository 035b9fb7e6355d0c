"""Whether the service can do its work: each part is tried, none is assumed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from detection.api.errors import RETRY_AFTER_SECONDS, envelope
from detection.apps import get_detector
from detection.models import Prediction, new_id

logger = logging.getLogger(__name__)


class LiveView(APIView):
    """The process answers; nothing else is touched."""

    @extend_schema(responses={200: dict})
    def get(self, request: Request) -> Response:
        return Response({"success": True, "status": "ok"})


class HealthView(APIView):
    """Model, device, database, storage and queue; 503 when one of them is down."""

    @extend_schema(responses={200: dict, 503: dict})
    def get(self, request: Request) -> Response:
        parts = {name: _tried(name, check) for name, check in CHECKS.items()}
        device = parts["model"].pop("device", None)
        down = [name for name, part in parts.items() if not part["ok"]]
        if not down:
            return Response({"success": True, "status": "ok", "device": device, **parts})
        error = envelope(f"Not available: {', '.join(down)}.", "unavailable")
        return Response(
            {**error, "status": "unavailable", "device": device, **parts},
            status=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


def _tried(name: str, check: Callable[[], dict]) -> dict:
    start = time.perf_counter()
    try:
        result = {"ok": True, **check()}
    except Exception:  # whatever it is, this part is down and the answer must say so
        logger.exception("Health: %s is down.", name)
        result = {"ok": False}
    return {**result, "latency_ms": round((time.perf_counter() - start) * 1000, 1)}


def _check_model() -> dict:
    info = get_detector().info
    return {"name": info.name, "version": info.version, "device": info.device}


def _check_database() -> dict:
    Prediction.objects.exists()
    return {}


def _check_storage() -> dict:
    """Writing is what a prediction needs: a full or read-only disk still lists its files."""
    key = default_storage.save(f"health/{new_id()}", ContentFile(b"ok"))
    default_storage.delete(key)
    return {}


def _check_queue() -> dict:
    return {"mode": "in the request"}


CHECKS: dict[str, Callable[[], dict]] = {
    "model": _check_model,
    "database": _check_database,
    "storage": _check_storage,
    "queue": _check_queue,
}
