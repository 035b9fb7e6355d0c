"""A CLIP tower that checkpoints share: one file in a cache folder, named by each of them.

A checkpoint names its tower with the hash of the tower's weights, so that the same weights in
another layout are the same tower. Nothing here imports PyTorch before a tower is read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class SharedTower:
    """``sha256`` is ``weights_digest`` of the tower's weights, in 64 hexadecimal digits."""

    name: str
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(f"The tower's name {self.name!r} is not valid.")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"The hash of the tower {self.name} is not valid.")

    def path(self, cache: Path) -> Path:
        return cache / f"{self.name}.safetensors"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# What fetch_clip makes of the wheel that it names
CLIP_VIT_B_16 = SharedTower(
    name="clip-vit-b-16",
    sha256="3641be94f0d29dbf5ab65f63143ffca9077fc8ce45a599fada9d7954349414aa",
)


def default_cache() -> Path:
    """The folder of shared towers: CLIP_CACHE of the environment, else ``data/clip``."""
    return PROJECT / (os.environ.get("CLIP_CACHE") or "data/clip")


def weights_digest(weights: Mapping[str, Tensor | np.ndarray]) -> hashlib._Hash:
    """SHA-256 of the names and the bytes of ``weights``, in the order of their names."""
    digest = hashlib.sha256()
    for name, values in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values))
    return digest
