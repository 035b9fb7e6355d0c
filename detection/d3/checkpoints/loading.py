"""Load checkpoint files of our own format; ``published_layouts.py`` loads the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapters import adapter_shapes, merge
from ..errors import CheckpointError, TowerError
from ..network import Architecture, D3Network
from ..preprocessing import Preprocessing
from .checkpoint import ADAPTERS, KEPT, TOWER, Checkpoint, tower_shapes
from .clip_layouts import ClipTower, read_clip_tower
from .clip_weights import find_clip_file
from .file_kind import file_kind
from .header import is_ours, read_metadata, read_safetensors_metadata
from .kept_features import KeptFeatures
from .published_layouts import load_published
from .tower_file import TowerFile, default_cache, missing_tower_error
from .weight_files import fitting_weights, read_entries


def load(
    path: str | Path,
    *,
    clip_weights: str | Path | None = None,
    clip_cache: Path | None = None,
    trust_torchscript: bool = False,
) -> Checkpoint:
    """Read a checkpoint of our format or of a published layout; the content decides which.

    ``clip_weights`` (see ``find_clip_file``) is the CLIP tower of a published head, or replaces the
    tower that a checkpoint of ours names. If it differs from that tower, the loaded checkpoint has
    another version, no metrics and no stored features. ``clip_cache`` is the folder in which
    ``manage.py fetch_clip`` stored towers, by default ``default_cache()``. ``trust_torchscript``
    allows TorchScript archives that OpenAI did not publish.

    Raises CheckpointError, and TowerError if the tower is missing or has other weights.
    """
    path = Path(path)
    if file_kind(path) == "safetensors" and is_ours(read_safetensors_metadata(path)):
        source = _TowerSource(clip_cache or default_cache(), clip_weights, trust_torchscript)
        return _load_ours(path, source)
    return load_published(path, clip_weights=clip_weights, trust_torchscript=trust_torchscript)


@dataclass(frozen=True, slots=True)
class _TowerSource:
    """The source of a checkpoint's tower: what the caller has ``given``, or else ``cache``."""

    cache: Path
    given: str | Path | None
    trust_torchscript: bool

    def read(self, path: Path, tower_file: TowerFile, width: int) -> tuple[Path, ClipTower]:
        """Return the file and the tower of the checkpoint at ``path``.

        Raises TowerError for a tower in the cache, CheckpointError for a given one.
        """
        if self.given:
            place = find_clip_file(self.given, width=width)
            entries = read_entries(place, trust_torchscript=self.trust_torchscript)
            return place, read_clip_tower(place, entries)
        if not tower_file.is_in(self.cache):
            raise TowerError(missing_tower_error(path, tower_file, self.cache))
        place = tower_file.path(self.cache)
        with suppress(CheckpointError):
            tower = read_clip_tower(place, read_entries(place))
            if tower.sha256 == tower_file.sha256:
                return place, tower
        raise TowerError(
            f"The CLIP tower in {place} is not the one that the checkpoint {path} needs; "
            "manage.py fetch_clip downloads it."
        )


def _load_ours(path: Path, source: _TowerSource) -> Checkpoint:
    metadata = read_metadata(path, read_safetensors_metadata(path))
    version = metadata.pop("version")
    found = read_entries(path)
    with _checked_description(path):
        architecture = metadata["architecture"] = Architecture.from_dict(metadata["architecture"])
        metadata["preprocessing"] = Preprocessing.from_dict(metadata["preprocessing"])
    if metadata["preprocessing"].size != architecture.image_size:
        raise CheckpointError(f"The preprocessing and the network of {path} differ in size.")
    metadata["uncertain"] = tuple(metadata["uncertain"])
    metadata["kept"] = _kept(path, architecture, _pop_prefixed(found, KEPT))
    if "tower_file" in metadata:
        return _load_beside_tower(path, metadata, found, version, source)
    weights = fitting_weights(path, _expected(path, architecture, limit=len(found)), found)
    return _verified(path, Checkpoint(**metadata, weights=weights), version)


def _load_beside_tower(
    path: Path,
    metadata: dict[str, Any],
    found: dict[str, Tensor],
    version: str,
    source: _TowerSource,
) -> Checkpoint:
    """Join the entries ``found`` at ``path`` and the tower in the file that they name."""
    architecture = metadata["architecture"]
    tower_file = metadata["tower_file"] = TowerFile(**metadata["tower_file"])
    place, tower = source.read(path, tower_file, architecture.tower.width)
    expected = _expected(path, architecture, limit=len(found) + len(tower.weights))
    with _checked_description(path):
        shared = tower_shapes(architecture)
    adapters = _adapters(path, architecture, found)
    prefixed = {f"{TOWER}{name}": tensor for name, tensor in tower.weights.items()}
    tower_weights = merge(fitting_weights(place, shared, prefixed), adapters, prefix=TOWER)
    own = {name: tensor for name, tensor in expected.items() if name not in shared}
    weights = fitting_weights(path, own, found) | tower_weights
    checkpoint = Checkpoint(**metadata, weights=weights, adapters=adapters)
    checkpoint = _verified(path, checkpoint, version)
    if tower.sha256 == tower_file.sha256:
        return checkpoint
    return replace(checkpoint, tower_file=None, adapters={}, metrics={}, kept=None)


def _pop_prefixed(found: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove the entries under ``prefix`` from ``found``; return them without the prefix."""
    names = [name for name in found if name.startswith(prefix)]
    return {name.removeprefix(prefix): found.pop(name) for name in names}


def _kept(path: Path, architecture: Architecture, taken: dict[str, Tensor]) -> KeptFeatures | None:
    if not taken:
        return None
    try:
        return KeptFeatures.from_tensors(taken, architecture.features)
    except ValueError as error:
        raise CheckpointError(f"The stored features in {path} are not valid.") from error


def _adapters(
    path: Path, architecture: Architecture, found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Remove the adapters from the entries ``found`` in the checkpoint at ``path``."""
    taken = _pop_prefixed(found, ADAPTERS)
    if not taken:
        return {}
    rank = next((len(tensor) for name, tensor in taken.items() if name.endswith(".down")), 0)
    expected = adapter_shapes(architecture.tower, rank)
    return fitting_weights(path, expected, taken, prefix=ADAPTERS)


def _verified(path: Path, checkpoint: Checkpoint, version: str) -> Checkpoint:
    """Return the checkpoint if its weights have the ``version`` that the file states."""
    if checkpoint.version != version:
        raise CheckpointError(f"The weights of {path} are not the ones that were saved.")
    return checkpoint


@contextmanager
def _checked_description(path: Path) -> Iterator[None]:
    """Turn every error of the block, which builds a described network, into a CheckpointError."""
    try:
        yield
    except Exception as error:  # PyTorch has no common error for impossible sizes
        raise CheckpointError(f"The description of the network in {path} is not valid.") from error


def _expected(path: Path, architecture: Architecture, *, limit: int) -> dict[str, Tensor]:
    """Return the names and shapes of the network's weights, as meta tensors.

    ``limit`` bounds the layers, so that a false description builds no huge network. Raises
    CheckpointError.
    """
    with _checked_description(path):
        if getattr(architecture.tower, "layers", 0) > limit:
            raise ValueError("A network has more weights than layers.")
        if architecture.image_size % architecture.shuffle_patch:
            raise ValueError("Patches must fill the image.")
        if architecture.outputs not in (1, 2):
            raise ValueError("A head has one or two outputs.")
        with torch.device("meta"):
            return D3Network(architecture).state_dict()
