"""Canonical routes, and the paths of the earlier service: same view, same JSON."""

from __future__ import annotations

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer
from rest_framework.routers import DefaultRouter

from detection.api.views.batches import BatchViewSet
from detection.api.views.files import stored_file
from detection.api.views.health import HealthView, LiveView
from detection.api.views.metrics import MetricsView
from detection.api.views.predict import PredictViewSet
from detection.api.views.predictions import PredictionViewSet
from detection.api.views.statistics import StatisticsViewSet
from detection.models import RECORD_ID

router = DefaultRouter()
router.trailing_slash = "/?"  # with or without; the constructor accepts only one of them
router.include_format_suffixes = False
router.register("predict", PredictViewSet, basename="predict")
router.register("batches", BatchViewSet, basename="batch")
router.register("predictions", PredictionViewSet, basename="prediction")
router.register("statistics", StatisticsViewSet, basename="statistics")

PK = f"(?P<pk>{RECORD_ID})"

# Browsers are shown pages below /api/ only; these addresses are for programs.
predict = PredictViewSet.as_view({"post": "create"}, renderer_classes=[JSONRenderer])
batch = BatchViewSet.as_view({"post": "create"}, renderer_classes=[JSONRenderer])
history = PredictionViewSet.as_view({"get": "list"}, renderer_classes=[JSONRenderer])
record = PredictionViewSet.as_view(
    {"get": "retrieve", "delete": "destroy"}, renderer_classes=[JSONRenderer]
)
statistics = StatisticsViewSet.as_view({"get": "list"}, renderer_classes=[JSONRenderer])
swagger = SpectacularSwaggerSplitView.as_view()

urlpatterns = [
    path("api/", include(router.urls)),
    path("api/auth/", include("rest_framework.urls")),
    re_path(r"^predict/?$", predict),
    re_path(r"^predict/batch/?$", batch),
    re_path(r"^batch_predict/?$", batch),
    re_path(r"^predictions/?$", history),
    re_path(rf"^predictions/{PK}/?$", record),
    re_path(r"^api/db/predictions/recent/?$", history),
    re_path(r"^api/db/predictions/by-label/(?P<label>[^/]+)/?$", history),
    re_path(rf"^api/db/predictions/{PK}/?$", record),
    re_path(r"^api/db/statistics/?$", statistics),
    re_path(r"^health/?$", HealthView.as_view(), name="health"),
    re_path(r"^health/ready/?$", HealthView.as_view()),
    re_path(r"^health/live/?$", LiveView.as_view(), name="health-live"),
    re_path(r"^metrics/?$", MetricsView.as_view(), name="metrics"),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", swagger, name="docs"),
    re_path(r"^apidocs/?$", swagger),
    re_path(r"^api/docs/?$", swagger),
    path("files/<path:name>", stored_file, name="stored-file"),
]
