"""Canonical routes, and the paths that clients of the earlier service use: same view, same JSON."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from detection.api.views.files import stored_file
from detection.api.views.health import HealthView, LiveView
from detection.api.views.predict import PredictView

urlpatterns = [
    re_path(r"^api/predict/?$", PredictView.as_view(), name="predict"),
    re_path(r"^predict/?$", PredictView.as_view()),
    re_path(r"^health/?$", HealthView.as_view(), name="health"),
    re_path(r"^health/ready/?$", HealthView.as_view()),
    re_path(r"^health/live/?$", LiveView.as_view(), name="health-live"),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    path("files/<path:name>", stored_file, name="stored-file"),
]
