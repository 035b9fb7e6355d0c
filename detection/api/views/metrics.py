from __future__ import annotations

from contextlib import suppress

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.request import Request
from rest_framework.views import APIView

from detection import metrics
from detection.api.permissions import MayReadMetrics
from detection.batches import waiting_batches
from detection.unavailable import UnavailableError


class MetricsView(APIView):
    """For Prometheus."""

    permission_classes = [MayReadMetrics]
    throttle_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        with suppress(UnavailableError):  # then it is the last number that was known
            metrics.QUEUED_BATCHES.set(waiting_batches())
        return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
