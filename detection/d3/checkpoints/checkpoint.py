"""A checkpoint and its file: safetensors, with everything but the weights in the metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import reason, replacing
from ..network import Architecture, ClipTowerConfig, D3Network
from ..preprocessing import Preprocessing
from .clip_layouts import expected_weights
from .header import FIELDS, FORMAT, OPTIONAL, read_safetensors_metadata, value_problem
from .kept_features import KeptFeatures
from .scorecard import SCORECARD_KEY, Scorecard
from .tower_file import TowerFile, weights_digest
from .weight_files import read_entries

TOWER = "tower."  # prefix of the tower's weights in D3Network
ADAPTERS = "adapters."  # prefix of the adapters in a checkpoint's file
KEPT = "kept."  # prefix of the stored features in a checkpoint's file


@dataclass(frozen=True)
class Checkpoint:
    """A stored detector: its weights, and the settings with which they are used.

    A fake score is sigmoid(logit / ``temperature``). A verdict is uncertain if its fake score lies
    in the band ``uncertain``, both ends included, or if a side of the image has fewer pixels than
    ``min_side``. ``weights`` is the state dict of D3Network in float32. Of the JSON objects
    ``metrics`` and ``training`` the code reads only the ``scorecard``; the rest is for people.

    ``tower_file`` names the separate file with the CLIP tower; the checkpoint's own file then has
    no tower. ``adapters`` were added to that tower (see ``adapters.py``); ``weights`` contain them.
    ``kept`` are stored features of training pictures, for further training of the head.
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
    min_side: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tower_file: TowerFile | None = None
    adapters: dict[str, Tensor] = field(default_factory=dict, repr=False)
    kept: KeptFeatures | None = field(default=None, repr=False)

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the weights: names and bytes, sorted by name.

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
        """The measurement on a test split, if one was recorded."""
        values = self.metrics.get(SCORECARD_KEY)
        return None if values is None else Scorecard.from_dict(values)

    def own_weights(self) -> dict[str, Tensor]:
        """Return the weights in the checkpoint's own file: all but those of ``tower_file``."""
        if self.tower_file is None:
            return self.weights
        shared = tower_shapes(self.architecture)
        own = {name: tensor for name, tensor in self.weights.items() if name not in shared}
        return own | {f"{ADAPTERS}{name}": tensor for name, tensor in self.adapters.items()}

    def permutation_lists(self) -> list[list[int]]:
        """Return the shuffles of this checkpoint, which are the same on every machine."""
        return draw_permutations(
            self.permutation_seed, self.permutations, self.architecture.patches
        )


def draw_permutations(seed: int, count: int, patches: int) -> list[list[int]]:
    """Return ``count`` permutations of 0..patches-1; a larger count only adds permutations.

    Hashes decide the order, because no library promises that its random numbers never change.
    """

    def rank(index: int, patch: int) -> bytes:
        return hashlib.sha256(f"{seed}/{index}/{patch}".encode()).digest()

    return [
        sorted(range(patches), key=lambda patch, index=index: rank(index, patch))
        for index in range(count)
    ]


def save(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write the checkpoint's file, completely or not at all. Raises CheckpointError."""
    metadata = _metadata(checkpoint)
    weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.own_weights().items()}
    if checkpoint.kept:
        weights |= {f"{KEPT}{name}": tensor for name, tensor in checkpoint.kept.tensors().items()}
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    _write(Path(path), weights, metadata)


def record(path: Path, measured: Scorecard) -> None:
    """Store a measurement in the checkpoint at ``path``, whose version does not change.

    Raises CheckpointError.
    """
    metadata = read_safetensors_metadata(path)
    metrics = json.loads(metadata["metrics"]) | {SCORECARD_KEY: asdict(measured)}
    _write(path, read_entries(path), metadata | {"metrics": json.dumps(metrics)})


def _write(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file(weights, part, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be written: {reason(error)}."
        ) from error


def build_network(checkpoint: Checkpoint) -> D3Network:
    """Build the network with the checkpoint's weights, on the CPU, in evaluation mode."""
    # A meta device draws no random weights, which take seconds for a transformer.
    clip = isinstance(checkpoint.architecture.tower, ClipTowerConfig)
    with torch.device("meta" if clip else "cpu"):
        network = D3Network(checkpoint.architecture)
    network.load_state_dict(checkpoint.weights, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    values = {name: getattr(checkpoint, name) for name in FIELDS}
    fields = {
        name: asdict(value) if is_dataclass(value) else value
        for name, value in values.items()
        if value or name not in OPTIONAL
    }
    if problem := value_problem(fields):
        raise CheckpointError(f"The checkpoint {checkpoint.name} is not valid: {problem}.")
    return {"format": FORMAT, **{name: json.dumps(value) for name, value in fields.items()}}


def tower_shapes(architecture: Architecture) -> dict[str, Tensor]:
    """Return names and shapes of the CLIP tower among the network's weights, as meta tensors."""
    shapes = expected_weights(architecture.tower, architecture.image_size)
    return {f"{TOWER}{name}": tensor for name, tensor in shapes.items()}
