"""The configuration of the Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DetectionConfig(AppConfig):
    name = "detection"
    verbose_name = "Deepfake detection"

    def ready(self) -> None:
        # Each of these modules registers checks or signal receivers.
        from detection import checks  # noqa: F401
        from detection.records import name_search, tables, totals  # noqa: F401
