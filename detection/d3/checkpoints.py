"""Our checkpoint format: one safetensors file with everything but the weights in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint_header import (
    FORMAT,
    file_kind,
    read_metadata,
    read_safetensors_header,
    value_problem,
)
from .errors import CheckpointError
from .network import Architecture, ClipTowerConfig, D3Network
from .preprocessing import Preprocessing
from .weight_files import fitting_weights, read_entries

__all__ = ["Checkpoint", "build_network", "draw_permutations", "load", "save"]


@dataclass(frozen=True)
class Checkpoint:
    """A detector at rest: weights, and all that decides how they are used.

    ``fake_score`` is sigmoid(logit / ``temperature``), ``uncertain`` the band of fake scores, both
    ends included, in which the detector cannot tell. ``weights`` is the state dict of D3Network in
    float32. ``metrics`` and ``training`` are JSON objects for people.
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

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the weights: their names and bytes, sorted."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

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
    path = Path(path)
    metadata = _metadata(checkpoint)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    weights = {name: tensor.detach().cpu() for name, tensor in checkpoint.weights.items()}
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
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
    trust_torchscript: bool = False,
) -> Checkpoint:
    """Read a checkpoint of ours or of a published layout, told apart by content.

    ``clip_weights`` and ``trust_torchscript`` are for published layouts, see ``foreign``.
    Raises CheckpointError.
    """
    path = Path(path)
    if file_kind(path) == "safetensors" and read_safetensors_header(path).is_ours:
        return _load_ours(path)
    from .foreign import load_foreign

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
    if problem := value_problem(fields):
        raise CheckpointError(f"The checkpoint {checkpoint.name} is not valid: {problem}.")
    return {"format": FORMAT, **{name: json.dumps(value) for name, value in fields.items()}}


def _load_ours(path: Path) -> Checkpoint:
    metadata = read_metadata(path, read_safetensors_header(path))
    version = metadata.pop("version")
    found = read_entries(path)
    try:
        metadata["architecture"] = Architecture.from_dict(metadata["architecture"])
        metadata["preprocessing"] = Preprocessing.from_dict(metadata["preprocessing"])
        expected = _expected(metadata["architecture"], limit=len(found))
    except Exception as error:  # PyTorch has no one error for sizes that make no network
        raise CheckpointError(f"The description of the network in {path} is not valid.") from error
    if metadata["preprocessing"].size != metadata["architecture"].image_size:
        raise CheckpointError(f"The preprocessing and the network of {path} differ in size.")
    metadata["uncertain"] = tuple(metadata["uncertain"])
    checkpoint = Checkpoint(**metadata, weights=fitting_weights(path, expected, found))
    if checkpoint.version != version:
        raise CheckpointError(f"The weights of {path} are not the ones that were saved.")
    return checkpoint


def _expected(architecture: Architecture, *, limit: int) -> dict[str, Tensor]:
    """Names and shapes of the weights, without the weights."""
    if getattr(architecture.tower, "layers", 0) > limit:
        raise ValueError("A network has more weights than layers.")
    if architecture.image_size % architecture.shuffle_patch or architecture.outputs not in (1, 2):
        raise ValueError("Patches must fill the image, and a head has one or two outputs.")
    with torch.device("meta"):
        return D3Network(architecture).state_dict()
