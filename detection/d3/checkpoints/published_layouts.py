"""Read the layouts of the published D³ code; the names of the entries decide which.

A head alone (8 tensors, bare or under ``attention_head.``) needs CLIP's weights from another file.
A whole model has ``model.`` and ``attention_head.``. Both may be under DataParallel's ``module.``
and in a training checkpoint's wrapping. Neither has settings, so these are fixed: threshold 0.5,
one permutation, and the published preprocessing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..network import ARCHITECTURES, Architecture, AttentionHead, ClipTowerConfig
from ..preprocessing import Preprocessing
from .checkpoint import Checkpoint
from .clip_layouts import ClipTower, contains_clip, read_clip_tower
from .clip_weights import find_clip_file
from .weight_files import fitting_weights, read_entries

_PARALLEL, _HEAD = "module.", "attention_head."
_RESNET = "layer4."  # a name of its last block
_BARE_HEAD = {"query", "key", "value", "fc"}


def load_published(
    path: Path, *, clip_weights: str | Path | None, trust_torchscript: bool
) -> Checkpoint:
    """Load the head at ``path`` with its own tower, or else with the tower of ``clip_weights``.

    Raises CheckpointError.
    """
    entries = read_entries(path, trust_torchscript=trust_torchscript)
    if any(name.removeprefix(_PARALLEL).startswith(_RESNET) for name in entries):
        raise CheckpointError(
            f"The checkpoint {path} is a ResNet, as CNNDetection publishes it, not a D³ detector."
        )
    prefix, head = _split_head(entries)
    if not head:
        raise CheckpointError(f"The checkpoint {path} has no attention head of a D³ detector.")
    head_weights = _read_head(path, head, prefix)
    tower_file = path
    if not contains_clip(entries):
        if clip_weights is None:
            raise CheckpointError(
                f"The checkpoint {path} is an attention head alone, and the CLIP weights that "
                "belong to it are not given."
            )
        tower_file = find_clip_file(clip_weights, width=len(head_weights["query.weight"]))
        entries = read_entries(tower_file, trust_torchscript=trust_torchscript)
    tower = read_clip_tower(tower_file, entries)
    return published_checkpoint(path, head_weights, tower_file, tower)


def _split_head(entries: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the prefix of the head's names, and the head's entries without the prefix."""
    parallel = _PARALLEL if all(name.startswith(_PARALLEL) for name in entries) else ""
    prefix = parallel + _HEAD
    if not any(name.startswith(prefix) for name in entries):
        prefix = parallel
        if not any(name.removeprefix(prefix).partition(".")[0] in _BARE_HEAD for name in entries):
            return prefix, {}
    return prefix, {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix)
    }


def _read_head(path: Path, found: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    width, outputs = (_rows(found.get(f"{name}.weight")) for name in ("query", "fc"))
    with torch.device("meta"):
        expected = AttentionHead(width, min(outputs, 2)).state_dict()
    return fitting_weights(path, expected, found, prefix=prefix)


def _rows(tensor: Any) -> int:
    """Return the length of the first axis, or 1 without one: a later check names that problem."""
    return tensor.shape[0] if isinstance(tensor, Tensor) and tensor.ndim and len(tensor) else 1


def published_checkpoint(
    path: Path, head: dict[str, Tensor], tower_file: Path, tower: ClipTower
) -> Checkpoint:
    """Join a head from ``path`` and a tower from ``tower_file``. Raises CheckpointError."""
    width, config = len(head["query.weight"]), tower.config
    if width != config.width:
        raise CheckpointError(
            f"The head in {path} is for features of {width} values, but the vision tower in "
            f"{tower_file} gives {config.width}."
        )
    weights = {f"tower.{name}": tensor for name, tensor in tower.weights.items()}
    weights |= {f"{_HEAD}{name}": tensor for name, tensor in head.items()}
    return Checkpoint(
        name=f"d3-clip-{published_name(config) or f'w{width}-l{config.layers}'}",
        architecture=Architecture(
            tower=config,
            image_size=tower.image_size,
            shuffle_patch=config.patch_size,
            outputs=len(head["fc.weight"]),
        ),
        preprocessing=Preprocessing(size=tower.image_size),
        weights=weights,
        training={"imported_from": path.name, "clip_weights": tower_file.name},
    )


def published_name(config: ClipTowerConfig) -> str | None:
    """Return the name in ``ARCHITECTURES`` of the architecture with this tower, or None."""
    towers = {
        name: replace(each.tower, reads=(), features=0)
        for name, each in ARCHITECTURES.items()
        if isinstance(each.tower, ClipTowerConfig)
    }
    return next((name for name, tower in towers.items() if tower == config), None)
