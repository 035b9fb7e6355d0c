"""The app, and the one detector that each process owns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.apps import AppConfig, apps
from django.conf import settings

if TYPE_CHECKING:
    from detection.d3 import Detector


class DetectionConfig(AppConfig):
    name = "detection"
    verbose_name = "Deepfake detection"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name, app_module) -> None:
        super().__init__(app_name, app_module)
        self._detector: Detector | None = None
        self._loading = threading.Lock()

    def ready(self) -> None:
        from detection import checks  # noqa: F401  registers them

    @property
    def detector(self) -> Detector:
        """Loaded on first use, once, whichever thread comes first. Raises CheckpointError."""
        if self._detector is None:
            with self._loading:
                if self._detector is None:
                    self._detector = _load_detector()
        return self._detector


def get_detector() -> Detector:
    """The detector of this process."""
    return apps.get_app_config("detection").detector


def _load_detector() -> Detector:
    # Imported here: PyTorch takes seconds to import, and `migrate` does not need it.
    from detection.d3 import Detector

    return Detector.from_checkpoint(
        settings.MODEL_CHECKPOINT_PATH,
        clip_weights=settings.CLIP_WEIGHTS,
        device=settings.DEVICE,
    )
