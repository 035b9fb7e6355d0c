"""open_clip, which knows where OpenAI's weights are, imported only to download them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch


def import_open_clip() -> ModuleType:
    """Return open_clip, also where torchvision was built for another torch.

    The index's torchvision is a CUDA build. Beside a CPU torch its compiled operators do not load,
    and the import stops at a fake kernel for an operator that was never declared. None of them is
    used here, so declaring the two schemas is enough. Where torchvision is sound nothing is done.
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
_declared: list[torch.library.Library] = []  # a Library undoes its definitions when collected


def _declare_torchvision_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
