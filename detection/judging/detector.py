"""The one detector that each process owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps

from detection.d3.errors import D3Error

if TYPE_CHECKING:
    from detection.d3 import Detector, DetectorInfo


def get_detector() -> Detector:
    """The detector of this process."""
    return apps.get_app_config("detection").detector


def detector_info() -> DetectorInfo | None:
    """What judges in this process; None where no detector can be loaded."""
    try:
        return get_detector().info
    except D3Error:
        return None


def detector_notice() -> str | None:
    """A sentence for users about a detector that is not the one it should be.

    None where all is well, and before the detector is loaded.
    """
    return apps.get_app_config("detection").notice
