"""Check whether the service works, part by part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from threading import Lock

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from detection.api import schema
from detection.api.serializers import AnswerSerializer, ErrorSerializer
from detection.errors import (
    MissingTablesError,
    StorageUnavailableError,
    UnavailableError,
    database_errors,
    storage_errors,
)
from detection.files import TEMPORARY
from detection.judging import detector_notice, get_detector
from detection.models import Prediction, new_id
from detection.queue import broker, count_unfinished_batches
from detection.records import delete_files, undo_writes
from detection.web import RETRY_AFTER_SECONDS, envelope

logger = logging.getLogger(__name__)

LIVE = {"success": True, "status": "ok"}
UP = {"ok": True, "latency_ms": 2.1}
HEALTHY = {
    "success": True,
    "status": "ok",
    "device": "cpu",
    "model": {**UP, "name": "d3-tiny", "version": "e36a1815af53af6a"},
    "database": UP,
    "storage": UP,
    "queue": {**UP, "mode": "in the process", "waiting": 0},
}
DEGRADED = {
    **HEALTHY,
    "status": "degraded",
    "model": {
        **HEALTHY["model"],
        "notice": "The small detector d3-tiny judges in place of d3-clip-b-16, whose CLIP tower is "
        "missing here; manage.py fetch_clip downloads it.",
    },
}
UNHEALTHY = {
    **HEALTHY,
    "success": False,
    "error": "Not available: storage.",
    "code": "unavailable",
    "status": "unavailable",
    "storage": {"ok": False, "latency_ms": 5000.4},
}


CHECK_SECONDS = 5.0  # after that, a part without an answer is down
FRESH_SECONDS = 1.0  # so long, all requests get the answer of the last check

# Clients of hung servers give up after 15 to 25 seconds, too late for an answer: the checks run in
# threads, with a deadline. Hung checks occupy few threads, whatever the number of requests.
_threads = ThreadPoolExecutor(8, thread_name_prefix="health")


class PartSerializer(serializers.Serializer):
    ok = serializers.BooleanField(help_text="Whether it works")
    latency_ms = serializers.FloatField(help_text="Duration of the check")


class ModelPartSerializer(PartSerializer):
    name = serializers.CharField(required=False, help_text="Name of the checkpoint")
    version = serializers.CharField(required=False, help_text="Hash of its weights")
    notice = serializers.CharField(
        required=False,
        help_text="Why another detector judges in place of the default; absent otherwise",
    )


class QueuePartSerializer(PartSerializer):
    mode = serializers.CharField(required=False, help_text="Where batches are judged")
    waiting = serializers.IntegerField(required=False, help_text="Batches that are not finished")


class LiveSerializer(AnswerSerializer):
    """A process that answers."""

    status = serializers.ChoiceField(["ok"], help_text="The process answers")


class HealthSerializer(serializers.Serializer):
    success = serializers.BooleanField(help_text="Whether every part works")
    status = serializers.ChoiceField(
        ["ok", "degraded", "unavailable"],
        help_text="degraded: the service works, with a smaller detector than the default",
    )
    device = serializers.CharField(allow_null=True, help_text="Device of the model")
    model = ModelPartSerializer(help_text="The detector")
    database = PartSerializer(help_text="The database of records")
    storage = PartSerializer(help_text="The storage of files; a file is written and deleted")
    queue = QueuePartSerializer(help_text="The queue of batches")


class UnhealthySerializer(HealthSerializer, ErrorSerializer):
    """The parts, and the envelope of errors."""


class _OpenView(APIView):
    """Base of views for monitoring: without authentication or limits, and without the database."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []


class LiveView(_OpenView):
    """Answer as long as the process runs. Checks no other part."""

    @extend_schema(
        operation_id="health_live",
        summary="Whether the process answers",
        responses={200: schema.answer(LiveSerializer, "The process answers", {"live": LIVE})},
    )
    def get(self, request: Request) -> Response:
        return Response(LIVE)


class HealthView(_OpenView):
    """Model, device, database, storage and queue; 503 when one of them is down."""

    @extend_schema(
        operation_id="health",
        summary="Whether every part works",
        responses={
            200: schema.answer(
                HealthSerializer, "Every part works", {"ok": HEALTHY, "degraded": DEGRADED}
            ),
            503: schema.answer(
                UnhealthySerializer,
                "A part is down; Retry-After says how many seconds to wait",
                {"storage is down": UNHEALTHY},
                status=503,
            ),
        },
    )
    def get(self, request: Request) -> Response:
        parts = _last_check.parts()
        device = parts["model"].pop("device", None)
        down = [name for name, part in parts.items() if not part["ok"]]
        if not down:
            status = "degraded" if "notice" in parts["model"] else "ok"
            return Response({"success": True, "status": status, "device": device, **parts})
        error = envelope(f"Not available: {', '.join(down)}.", "unavailable")
        return Response(
            {**error, "status": "unavailable", "device": device, **parts},
            status=503,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


class _LastCheck:
    """The result of the last check, so that many requests do not load database and storage."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._time = float("-inf")
        self._parts: dict[str, dict] = {}

    def parts(self) -> dict[str, dict]:
        with self._lock:
            if time.monotonic() - self._time > FRESH_SECONDS:
                self._parts = _check_all()
                self._time = time.monotonic()
            return {name: {**part} for name, part in self._parts.items()}


_last_check = _LastCheck()


def _check_all() -> dict[str, dict]:
    """Check all parts at the same time, each for CHECK_SECONDS at most."""
    checks = {
        name: _threads.submit(copy_context().run, _checked, name, check)
        for name, check in CHECKS.items()
    }
    wait(checks.values(), timeout=CHECK_SECONDS)
    return {name: _result(name, check) for name, check in checks.items()}


def _result(name: str, check: Future[dict]) -> dict:
    if check.done():
        return check.result()
    check.cancel()
    logger.error("Health: %s is down: no answer in %s seconds.", name, CHECK_SECONDS)
    return {"ok": False, "latency_ms": CHECK_SECONDS * 1000}


def _checked(name: str, check: Callable[[], dict]) -> dict:
    start = time.perf_counter()
    try:
        result = {"ok": True, **check()}
    except Exception as error:  # whatever its type, the part is down
        reason = error if isinstance(error, MissingTablesError) else error.__cause__ or error
        logger.error("Health: %s is down: %s", name, reason)
        result = {"ok": False}
    finally:
        connection.close()
    return {**result, "latency_ms": round((time.perf_counter() - start) * 1000, 1)}


def _check_model() -> dict:
    info = get_detector().info
    model = {"name": info.name, "version": info.version, "device": info.device}
    notice = detector_notice()
    return {**model, "notice": notice} if notice else model


def _check_database() -> dict:
    with database_errors():
        Prediction.objects.exists()
    return {}


def _check_storage() -> dict:
    """Write a file, as a prediction does: a full or read-only disk can still list its files."""
    key = f"{TEMPORARY}/{new_id()}"
    try:
        with storage_errors():
            default_storage.save(key, ContentFile(b"ok"))
    except StorageUnavailableError as error:
        undo_writes(cause=error, files=[key])
        raise
    delete_files([key])
    return {}


def _check_queue() -> dict:
    with_workers = broker.is_configured()
    if with_workers:
        broker.ping()
    state = {"mode": "workers" if with_workers else "in the process"}
    with suppress(UnavailableError):  # the check of the database reports the outage
        state["waiting"] = count_unfinished_batches()
    return state


CHECKS: dict[str, Callable[[], dict]] = {
    "model": _check_model,
    "database": _check_database,
    "storage": _check_storage,
    "queue": _check_queue,
}
