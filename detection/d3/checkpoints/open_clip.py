"""Import open_clip, which knows the addresses of OpenAI's weights; only downloads need it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch


def import_open_clip() -> ModuleType:
    """Return open_clip, even if torchvision was built for another torch.

    The compiled operators of a CUDA torchvision do not load beside a CPU torch, and its import
    stops at a fake kernel for an operator that was never declared. Nothing here uses these
    operators, so a declaration of the two schemas is enough. A sound torchvision is left alone.
    """
    try:
        return importlib.import_module("open_clip")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] in _HALF_IMPORTED]:
        del sys.modules[name]
    _declare_torchvision_operators()
    return importlib.import_module("open_clip")


_HALF_IMPORTED = {"torchvision", "open_clip", "timm"}
_declared: list[torch.library.Library] = []  # the definitions end with their Library


def _declare_torchvision_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
