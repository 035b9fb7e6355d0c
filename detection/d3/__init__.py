"""The D³ detector: PyTorch and Pillow only, usable without Django.

    from detection.d3 import Detector
    detector = Detector.from_checkpoint("checkpoints/d3-tiny.safetensors")
    detector.detect(["photo.jpg"])

The errors are imported at once, the other names on first use, because PyTorch takes seconds. Other
code imports from this module, from the modules beside it, and from the folders' ``__init__``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CheckpointError,
    D3Error,
    DamagedImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    PolyglotImageError,
    RawPhotographError,
    TooManyPixelsError,
    TowerError,
    TruncatedImageError,
    UnsupportedImageError,
)

if TYPE_CHECKING:
    from .detector import Detector, DetectorInfo, Doubt, Evidence, Verdict


def __getattr__(name: str) -> Any:
    if name in ("Detector", "DetectorInfo", "Doubt", "Evidence", "Verdict"):
        return getattr(import_module(".detector", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
