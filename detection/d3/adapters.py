"""Low-rank adapters: small trainable matrices beside the frozen ones of a CLIP tower.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022: the product of two thin
matrices is added to each matrix of a block. The product begins as zero. Loading a checkpoint merges
the products into the tower, so that inference costs nothing more.

Names are ``BLOCK.LAYER.down`` (rank, inputs) and ``BLOCK.LAYER.up`` (outputs, rank), with the
layers of ``FastBlock``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import ClipTowerConfig, clip_tower
from .runtime import QUICK_GELU, FastClipTower

LAYERS = ("query", "key_value", "out", "widen", "narrow")


class AdaptedLinear(nn.Module):
    """The sum of a frozen linear layer and its adapter, in the layer's precision."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.frozen = linear
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) * linear.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.scale = scale  # of the frozen weights relative to the tower's

    def forward(self, inputs: Tensor) -> Tensor:
        low = functional.linear(inputs, self.down.to(inputs.dtype))
        return self.frozen(inputs) + functional.linear(low, self.scale * self.up.to(inputs.dtype))


class AdaptedTower(FastClipTower):
    """The tower with trainable adapters of ``rank`` in all blocks; its own weights are frozen.

    Each training pass sees a random half of the patches, which takes half the time and is enough
    (Li et al., "Scaling Language-Image Pre-training via Masking", CVPR 2023).
    """

    seen_patches = 0.5  # share, in training

    def __init__(self, tower: nn.Module, rank: int, dtype: torch.dtype) -> None:
        super().__init__(tower, dtype)
        self.requires_grad_(requires_grad=False)
        scaled = dtype != torch.float32  # FastBlock moves QuickGELU's factor into the weights
        scales = {"widen": QUICK_GELU, "narrow": 1 / QUICK_GELU} if scaled else {}
        for block in self.blocks:
            for layer in LAYERS:
                linear = AdaptedLinear(getattr(block, layer), rank, scales.get(layer, 1.0))
                setattr(block, layer, linear)

    def embed(self, images: Tensor) -> Tensor:
        tokens = super().embed(images)
        if not self.training:
            return tokens
        patches = tokens.shape[1] - 1
        drawn = torch.randperm(patches, device=tokens.device)[: round(patches * self.seen_patches)]
        return torch.cat([tokens[:, :1], tokens[:, 1 + drawn]], dim=1)


def adapters_of(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the adapters among the weights of a module with an AdaptedTower at ``prefix``."""
    return {
        name.removeprefix(f"{prefix}blocks."): tensor
        for name, tensor in weights.items()
        if name.startswith(f"{prefix}blocks.") and name.endswith((".down", ".up"))
    }


def stacked(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return adapters whose product is the sum of both products; the ranks add up.

    ``first`` may be empty.
    """
    if not first:
        return second
    dims = {name: 0 if name.endswith(".down") else 1 for name in second}
    return {name: torch.cat([first[name], second[name]], dim) for name, dim in dims.items()}


def adapter_shapes(config: ClipTowerConfig, rank: int) -> dict[str, Tensor]:
    """Return names and shapes of a tower's adapters, as meta tensors."""
    with torch.device("meta"):
        tower = clip_tower(config, image_size=config.patch_size)  # adapters depend on no size
        adapted = AdaptedTower(tower, rank, torch.float32)
    return adapters_of(adapted.state_dict(), "")


def merge(
    tower: dict[str, Tensor], adapters: dict[str, Tensor], *, prefix: str = ""
) -> dict[str, Tensor]:
    """Return the weights of CLIP's ``tower`` plus the ``adapters``; neither argument changes.

    ``prefix`` precedes the names of the tower's weights.
    """
    merged = dict(tower)
    for name in sorted(name for name in adapters if name.endswith(".up")):
        block, layer, _ = name.split(".")
        added = adapters[name].float() @ adapters[f"{block}.{layer}.down"].float()
        target = f"{prefix}transformer.resblocks.{block}.{_TARGETS[layer]}"
        weight = merged[target].clone()
        _rows(weight, layer).add_(added)
        merged[target] = weight
    return merged


_TARGETS = {
    "query": "attn.in_proj_weight",
    "key_value": "attn.in_proj_weight",
    "out": "attn.out_proj.weight",
    "widen": "mlp.c_fc.weight",
    "narrow": "mlp.c_proj.weight",
}


def _rows(weight: Tensor, layer: str) -> Tensor:
    """Return the ``layer``'s rows of a matrix: query, key and value share one, in this order."""
    third = len(weight) // 3
    parts = {"query": weight[:third], "key_value": weight[third:]}
    return parts.get(layer, weight)
