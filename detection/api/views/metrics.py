"""Metrics for Prometheus."""

from __future__ import annotations

from contextlib import suppress

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.request import Request
from rest_framework.views import APIView

from detection import prometheus
from detection.api.permissions import MayReadMetrics
from detection.errors import UnavailableError
from detection.queue import count_unfinished_batches


class MetricsView(APIView):
    permission_classes = [MayReadMetrics]
    throttle_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        with suppress(UnavailableError):  # the metric still has the last known number
            prometheus.QUEUED_BATCHES.set(count_unfinished_batches())
        return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
