"""Our checkpoint format: one safetensors file with everything but the weights in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..adapters import adapter_shapes, merge
from ..errors import CheckpointError, TowerError
from ..network import Architecture, ClipTowerConfig, D3Network
from ..preprocessing import Preprocessing
from . import scorecard
from .clip_download import find_clip_file
from .clip_layouts import ClipTower, expected_weights, read_clip_tower
from .header import FORMAT, file_kind, read_metadata, read_safetensors_header, value_problem
from .kept_features import KeptFeatures
from .scorecard import Scorecard
from .tensors import fitting_weights, read_entries
from .tower_file import TowerFile, default_cache, missing_tower, weights_digest

__all__ = ["Checkpoint", "build_network", "draw_permutations", "load", "record", "save"]

_TOWER = "tower."  # of D3Network, before the names of the tower's own weights
_ADAPTERS = "adapters."  # in a checkpoint's file, before their names
_KEPT = "kept."  # likewise before those of kept features


@dataclass(frozen=True)
class Checkpoint:
    """A detector at rest: weights, and all that decides how they are used.

    ``fake_score`` is sigmoid(logit / ``temperature``), ``uncertain`` the band of fake scores, both
    ends included, in which the detector cannot tell. ``weights`` is the state dict of D3Network in
    float32. ``metrics`` and ``training`` are JSON objects, for people but for the ``scorecard``
    among the metrics. ``tower_file`` names the file
    that the CLIP tower among the weights is from and stays in: the checkpoint's own file has none.
    ``adapters`` are what was added to that tower, see ``adapters.py``; the weights contain them.
    ``kept`` are features of the pictures that it was trained on, for further training of its head.
    """

    name: str
    architecture: Architecture
    preprocessing: Preprocessing
    weights: dict[str, Tensor] = field(repr=False)
    permutation_seed: int = 0
    permutations: int = 1
    threshold: float = 0.5
    uncertain: tuple[float, float] = (0.5, 0.5)
    temperature: float = 1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tower_file: TowerFile | None = None
    adapters: dict[str, Tensor] = field(default_factory=dict, repr=False)
    kept: KeptFeatures | None = field(default=None, repr=False)

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the weights: their names and bytes, sorted.

        For a tower in a file of its own, the tower's hash takes the place of its weights.
        """
        digest = weights_digest(
            {
                name: tensor.detach().cpu().contiguous().numpy()
                for name, tensor in self.own_weights().items()
            }
        )
        if self.tower_file:
            digest.update(self.tower_file.sha256.encode())
        return digest.hexdigest()[:16]

    @property
    def scorecard(self) -> Scorecard | None:
        """What the scores meant in a test, where one was recorded."""
        values = self.metrics.get(scorecard.NAME)
        return None if values is None else Scorecard.from_dict(values)

    def own_weights(self) -> dict[str, Tensor]:
        """The weights that the checkpoint's file holds: all but those of ``tower_file``."""
        if self.tower_file is None:
            return self.weights
        shared = _tower_shapes(self.architecture)
        own = {name: tensor for name, tensor in self.weights.items() if name not in shared}
        return own | {f"{_ADAPTERS}{name}": tensor for name, tensor in self.adapters.items()}

    def permutation_lists(self) -> list[list[int]]:
        """The shuffles of this checkpoint, the same everywhere and always."""
        return draw_permutations(
            self.permutation_seed, self.permutations, self.architecture.patches
        )


def draw_permutations(seed: int, count: int, patches: int) -> list[list[int]]:
    """``count`` permutations of 0..patches-1; those of a smaller count are the first of a larger.

    Ranked by hashes, because no library promises that its generator will never change.
    """

    def rank(index: int, patch: int) -> bytes:
        return hashlib.sha256(f"{seed}/{index}/{patch}".encode()).digest()

    return [
        sorted(range(patches), key=lambda patch, index=index: rank(index, patch))
        for index in range(count)
    ]


def save(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write our format, completely or not at all. Raises CheckpointError."""
    metadata = _metadata(checkpoint)
    weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.own_weights().items()}
    if checkpoint.kept:
        weights |= {f"{_KEPT}{name}": tensor for name, tensor in checkpoint.kept.tensors().items()}
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    _write(Path(path), weights, metadata)


def record(path: Path, measured: Scorecard) -> None:
    """Store a measurement in the checkpoint at ``path``, which stays the same version.

    Raises CheckpointError.
    """
    metadata = read_safetensors_header(path).metadata
    metrics = json.loads(metadata["metrics"]) | {scorecard.NAME: asdict(measured)}
    _write(path, read_entries(path), metadata | {"metrics": json.dumps(metrics)})


def _write(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, part, metadata=metadata)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"The checkpoint {path} cannot be written: {reason}.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def load(
    path: str | Path,
    *,
    clip_weights: str | Path | None = None,
    clip_cache: Path | None = None,
    trust_torchscript: bool = False,
) -> Checkpoint:
    """Read a checkpoint of ours or of a published layout, told apart by content.

    ``clip_weights`` is the CLIP tower of a published head (see ``foreign``), or takes the place of
    the one that a checkpoint of ours names; with other weights the checkpoint has another version,
    no metrics and no kept features.
    ``clip_cache`` is where ``manage.py fetch_clip`` stored towers; by default ``default_cache()``.
    Raises CheckpointError, and TowerError where the tower is not there.
    """
    path = Path(path)
    if file_kind(path) == "safetensors" and read_safetensors_header(path).is_ours:
        source = _TowerSource(clip_cache or default_cache(), clip_weights, trust_torchscript)
        return _load_ours(path, source)
    from .published import load_foreign

    return load_foreign(path, clip_weights=clip_weights, trust_torchscript=trust_torchscript)


def build_network(checkpoint: Checkpoint) -> D3Network:
    """The network with the checkpoint's weights, on the CPU, in evaluation mode."""
    # Hundreds of millions of random numbers, drawn only to be replaced, would take seconds.
    clip = isinstance(checkpoint.architecture.tower, ClipTowerConfig)
    with torch.device("meta" if clip else "cpu"):
        network = D3Network(checkpoint.architecture)
    network.load_state_dict(checkpoint.weights, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    fields = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "architecture": checkpoint.architecture.as_dict(),
        "preprocessing": checkpoint.preprocessing.as_dict(),
        "permutation_seed": checkpoint.permutation_seed,
        "permutations": checkpoint.permutations,
        "threshold": checkpoint.threshold,
        "uncertain": checkpoint.uncertain,
        "temperature": checkpoint.temperature,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
    }
    if checkpoint.tower_file:
        fields["tower_file"] = checkpoint.tower_file.as_dict()
    if problem := value_problem(fields):
        raise CheckpointError(f"The checkpoint {checkpoint.name} is not valid: {problem}.")
    return {"format": FORMAT, **{name: json.dumps(value) for name, value in fields.items()}}


@dataclass(frozen=True, slots=True)
class _TowerSource:
    """Where the tower of a checkpoint is read from, in place of its ``tower_file`` if one is given.

    ``cache`` is a folder; ``given`` whatever ``find_clip_file`` takes.
    """

    cache: Path
    given: str | Path | None
    trust_torchscript: bool

    def read(self, path: Path, tower_file: TowerFile, width: int) -> tuple[Path, ClipTower]:
        """The tower of the checkpoint at ``path``, and its file.

        Raises TowerError where the cache has no such tower, CheckpointError for a given one.
        """
        if self.given:
            place = find_clip_file(self.given, width=width)
            entries = read_entries(place, trust_torchscript=self.trust_torchscript)
            return place, read_clip_tower(place, entries)
        if not tower_file.is_in(self.cache):
            raise TowerError(missing_tower(path, tower_file, self.cache))
        place = tower_file.path(self.cache)
        with suppress(CheckpointError):
            tower = read_clip_tower(place, read_entries(place))
            if tower.sha256 == tower_file.sha256:
                return place, tower
        raise TowerError(
            f"The CLIP tower in {place} is not the one that the checkpoint {path} was made with; "
            "manage.py fetch_clip downloads that."
        )


def _load_ours(path: Path, source: _TowerSource) -> Checkpoint:
    metadata = read_metadata(path, read_safetensors_header(path))
    version = metadata.pop("version")
    found = read_entries(path)
    with _description_of(path):
        architecture = metadata["architecture"] = Architecture.from_dict(metadata["architecture"])
        metadata["preprocessing"] = Preprocessing.from_dict(metadata["preprocessing"])
    if metadata["preprocessing"].size != architecture.image_size:
        raise CheckpointError(f"The preprocessing and the network of {path} differ in size.")
    metadata["uncertain"] = tuple(metadata["uncertain"])
    metadata["kept"] = _kept(path, architecture, _taken(found, _KEPT))
    if "tower_file" not in metadata:
        weights = fitting_weights(path, _expected(path, architecture, limit=len(found)), found)
        return _verified(path, Checkpoint(**metadata, weights=weights), version)
    tower_file = metadata["tower_file"] = TowerFile(**metadata["tower_file"])
    place, tower = source.read(path, tower_file, architecture.tower.width)
    _expected(path, architecture, limit=len(found) + len(tower.weights))  # before it is believed
    adapters = _adapters(path, architecture, found)
    weights = _joined(path, architecture, found, place, tower, adapters)
    checkpoint = Checkpoint(**metadata, weights=weights, adapters=adapters)
    checkpoint = _verified(path, checkpoint, version)
    same = tower.sha256 == tower_file.sha256
    if same:
        return checkpoint
    return replace(checkpoint, tower_file=None, adapters={}, metrics={}, kept=None)


def _taken(found: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take what begins with the ``prefix`` out of ``found``, by the rest of its name."""
    names = [name for name in found if name.startswith(prefix)]
    return {name.removeprefix(prefix): found.pop(name) for name in names}


def _kept(path: Path, architecture: Architecture, taken: dict[str, Tensor]) -> KeptFeatures | None:
    if not taken:
        return None
    try:
        return KeptFeatures.from_tensors(taken, architecture.features)
    except ValueError as error:
        raise CheckpointError(f"The kept features in {path} are not valid.") from error


def _adapters(
    path: Path, architecture: Architecture, found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Take the adapters out of what was ``found`` in the checkpoint at ``path``."""
    taken = _taken(found, _ADAPTERS)
    if not taken:
        return {}
    rank = next((len(tensor) for name, tensor in taken.items() if name.endswith(".down")), 0)
    expected = adapter_shapes(architecture.tower, rank)
    return fitting_weights(path, expected, taken, prefix=_ADAPTERS)


def _joined(
    path: Path,
    architecture: Architecture,
    found: dict[str, Tensor],
    place: Path,
    tower: ClipTower,
    adapters: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The network's weights out of the checkpoint at ``path`` and the tower at ``place``."""
    expected = _expected(path, architecture, limit=len(found) + len(tower.weights))
    with _description_of(path):
        shared = _tower_shapes(architecture)
    own = {name: tensor for name, tensor in expected.items() if name not in shared}
    prefixed = {f"{_TOWER}{name}": tensor for name, tensor in tower.weights.items()}
    fitting = fitting_weights(place, shared, prefixed)
    return fitting_weights(path, own, found) | merge(fitting, adapters, prefix=_TOWER)


def _verified(path: Path, checkpoint: Checkpoint, version: str) -> Checkpoint:
    if checkpoint.version != version:
        raise CheckpointError(f"The weights of {path} are not the ones that were saved.")
    return checkpoint


@contextmanager
def _description_of(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # PyTorch has no one error for sizes that make no network
        raise CheckpointError(f"The description of the network in {path} is not valid.") from error


def _tower_shapes(architecture: Architecture) -> dict[str, Tensor]:
    """Names and shapes of the CLIP tower among the network's weights."""
    shapes = expected_weights(architecture.tower, architecture.image_size)
    return {f"{_TOWER}{name}": tensor for name, tensor in shapes.items()}


def _expected(path: Path, architecture: Architecture, *, limit: int) -> dict[str, Tensor]:
    """Names and shapes of the weights, without the weights. Raises CheckpointError."""
    with _description_of(path):
        if getattr(architecture.tower, "layers", 0) > limit:
            raise ValueError("A network has more weights than layers.")
        if architecture.image_size % architecture.shuffle_patch:
            raise ValueError("Patches must fill the image.")
        if architecture.outputs not in (1, 2):
            raise ValueError("A head has one or two outputs.")
        with torch.device("meta"):
            return D3Network(architecture).state_dict()
