"""Initial checkpoints, with random weights, from which training starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..network import ARCHITECTURES, AttentionHead, D3Network, untrained_weights_after_tower
from ..preprocessing import PREPROCESSINGS
from .checkpoint import Checkpoint
from .clip_layouts import read_clip_tower
from .clip_weights import find_clip_file
from .published_layouts import published_checkpoint, published_name
from .tower_file import CLIP_VIT_B_16
from .weight_files import read_entries


def untrained(architecture: str, *, seed: int) -> Checkpoint:
    """Return random weights for one of ``ARCHITECTURES``; the seed decides them."""
    torch.manual_seed(seed)
    return Checkpoint(
        name=f"d3-{architecture}",
        architecture=ARCHITECTURES[architecture],
        preprocessing=PREPROCESSINGS[architecture],
        permutation_seed=seed,
        weights=D3Network(ARCHITECTURES[architecture]).state_dict(),
    )


def untrained_head(
    clip_weights: str | Path, *, architecture: str, seed: int, trust_torchscript: bool = False
) -> Checkpoint:
    """Return CLIP's tower with a random head. Raises CheckpointError.

    ``clip_weights`` is a source for ``find_clip_file``, ``architecture`` one of ``ARCHITECTURES``;
    the tower of another architecture is refused. If the tower is the one that ``fetch_clip``
    downloads, in whatever layout, the checkpoint names it as its ``tower_file``.
    """
    wanted = ARCHITECTURES[architecture]
    file = find_clip_file(clip_weights, width=wanted.tower.width)
    tower = read_clip_tower(file, read_entries(file, trust_torchscript=trust_torchscript))
    if (found := published_name(tower.config)) not in (architecture, None):
        raise CheckpointError(f"The vision tower in {file} is {found}, not {architecture}.")
    torch.manual_seed(seed)
    start = published_checkpoint(file, AttentionHead(tower.config.width).state_dict(), file, tower)
    if found is None or tower.image_size != wanted.image_size:
        return start
    torch.manual_seed(seed)
    return replace(
        start,
        architecture=wanted,
        preprocessing=PREPROCESSINGS[architecture],
        weights={f"tower.{name}": tensor for name, tensor in tower.weights.items()}
        | untrained_weights_after_tower(wanted),
        tower_file=CLIP_VIT_B_16 if tower.sha256 == CLIP_VIT_B_16.sha256 else None,
    )
