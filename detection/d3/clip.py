"""open_clip's vision tower, imported only when a CLIP architecture is used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch
from torch import Tensor, nn

HEAD_WIDTH = 64  # channels per attention head in every published CLIP ViT


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


def build_clip_tower(*, image_size: int, patch_size: int, width: int, layers: int) -> nn.Module:
    """CLIP's vision transformer with QuickGELU, without its final projection.

    Maps (N, 3, image_size, image_size) to the class token after ``ln_post``, (N, width).
    Weights are random until loaded.
    """
    import_open_clip()
    transformer = importlib.import_module("open_clip.transformer")
    tower = transformer.VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        layers=layers,
        heads=width // HEAD_WIDTH,
        mlp_ratio=4.0,
        output_dim=width,
        act_layer=transformer.QuickGELU,
        norm_layer=transformer.LayerNorm,
    )
    tower.proj = None
    return tower


class BlockTokens(nn.Module):
    """CLIP's vision transformer, read after several of its blocks instead of at its end.

    Maps (N, 3, S, S) to the class tokens after the blocks ``reads``, counted from 0, (N, L, C).
    Its weights have the names that they have in ``tower``.
    """

    def __init__(self, tower: nn.Module, reads: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.ln_pre, self.ln_post = tower.conv1, tower.ln_pre, tower.ln_post
        self.class_embedding = tower.class_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.reads = reads

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(images), 1, -1)
        tokens = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        read = {}
        for number, block in enumerate(self.transformer.resblocks[: max(self.reads) + 1]):
            tokens = block(tokens)
            read[number] = tokens[:, 0]
        return torch.stack([read[number] for number in self.reads], dim=1)
