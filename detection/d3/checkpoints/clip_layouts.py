"""Read CLIP's vision tower from the layouts in which its weights are published.

A layout is a whole model or a vision tower alone, with OpenAI's names (which open_clip uses too) or
Hugging Face's, under any prefix. Every tower runs with QuickGELU, as OpenAI's does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..clip import HEAD_WIDTH
from ..errors import CheckpointError
from ..network import ClipTowerConfig, clip_tower
from .tower_file import weights_digest
from .weight_files import fitting_weights

_OPENAI_STEM, _HUGGING_FACE_STEM = "conv1.weight", "embeddings.patch_embedding.weight"
_STEMS = (_OPENAI_STEM, _HUGGING_FACE_STEM)  # no name of another entry ends like these
# The projection is applied after the features; the position ids are no weights.
_IGNORED = {"proj", "embeddings.position_ids"}

_HUGGING_FACE = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1": "embeddings.patch_embedding",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


@dataclass(frozen=True)
class ClipTower:
    """A vision tower as read from a file; ``weights`` are float32, by VisionTransformer's names."""

    config: ClipTowerConfig
    image_size: int
    weights: dict[str, Tensor]

    @cached_property
    def sha256(self) -> str:
        """The hash by which a ``TowerFile`` names the tower."""
        arrays = {name: tensor.numpy() for name, tensor in self.weights.items()}
        return weights_digest(arrays).hexdigest()


def contains_clip(entries: dict[str, Any]) -> bool:
    return any(name.endswith(_STEMS) for name in entries)


def read_clip_tower(path: Path, entries: dict[str, Any]) -> ClipTower:
    """Read the vision tower among the entries of the file at ``path``. Raises CheckpointError."""
    stems = sorted((name for name in entries if name.endswith(_STEMS)), key=len)
    if not stems:
        raise CheckpointError(f"The file {path} holds no vision tower of CLIP.")
    stem = next(stem for stem in _STEMS if stems[0].endswith(stem))
    prefix = stems[0].removesuffix(stem)
    found = {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in _IGNORED
    }
    parts = _hugging_face if stem == _HUGGING_FACE_STEM else _openai
    config, image_size = _sizes(path, found, prefix, parts)
    weights = _tower_weights(path, found, prefix, parts, expected_weights(config, image_size))
    return ClipTower(config, image_size, weights)


def expected_weights(config: ClipTowerConfig, image_size: int) -> dict[str, Tensor]:
    """Return the names and shapes of the tower's weights, as meta tensors."""
    with torch.device("meta"):
        return clip_tower(config, image_size).state_dict()


def _tower_weights(
    path: Path,
    found: dict[str, Any],
    prefix: str,
    parts: Callable[[str], list[str]],
    expected: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Return ``found`` with the names and shapes of ``expected``.

    ``parts`` returns the file's names for one of ours. Errors name the entries as the file does.
    """
    names = {name: parts(name) for name in expected}
    pieces = {
        part: piece
        for name, tensor in expected.items()
        for part, piece in zip(names[name], tensor.chunk(len(names[name])), strict=True)
    }
    weights = fitting_weights(path, pieces, found, prefix=prefix)
    return {name: _joined([weights.pop(part) for part in names[name]]) for name in expected}


def _joined(pieces: list[Tensor]) -> Tensor:
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _openai(name: str) -> list[str]:
    return [name]


def _hugging_face(name: str) -> list[str]:
    """Return Hugging Face's entries for OpenAI's entry ``name``, in order."""
    if block := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name):
        layer, rest = block.groups()
        prefix = f"encoder.layers.{layer}."
        if joined := re.fullmatch(r"attn\.in_proj_(weight|bias)", rest):
            return [f"{prefix}self_attn.{part}_proj.{joined[1]}" for part in "qkv"]
        return [prefix + _hugging_face_name(rest)]
    return [_hugging_face_name(name)]


def _hugging_face_name(name: str) -> str:
    if name in _HUGGING_FACE:
        return _HUGGING_FACE[name]
    module, _, parameter = name.rpartition(".")
    return f"{_HUGGING_FACE[module]}.{parameter}"


def _sizes(
    path: Path, found: dict[str, Any], prefix: str, parts: Callable[[str], list[str]]
) -> tuple[ClipTowerConfig, int]:
    """Read the tower's sizes and the side of its images from the shapes."""
    names = [*parts("conv1.weight"), *parts("positional_embedding")]
    patches, positions = (_shape(path, found, name, prefix) for name in names)
    if len(patches) != 4 or len(positions) != 2 or patches[2] != patches[3] or 0 in patches:
        raise CheckpointError(f"The vision tower of {path} does not cut images into squares.")
    width, side = patches[0], math.isqrt(max(positions[0] - 1, 0))
    if side == 0 or side**2 + 1 != positions[0]:
        raise CheckpointError(f"The vision tower of {path} is not for square images.")
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"The vision tower of {path} is {width} wide, which is no multiple of {HEAD_WIDTH}."
        )
    numbers = (re.match(r"(?:transformer\.resblocks|encoder\.layers)\.(\d+)\.", n) for n in found)
    layers = len({match[1] for match in numbers if match})
    return ClipTowerConfig(width, layers, patches[2]), side * patches[2]


def _shape(path: Path, found: dict[str, Any], name: str, prefix: str) -> torch.Size:
    if name not in found:
        raise CheckpointError(f"The checkpoint {path} lacks the weights '{prefix}{name}'.")
    if not isinstance(found[name], Tensor):
        raise CheckpointError(f"The entry '{prefix}{name}' of {path} is not a tensor.")
    return found[name].shape
