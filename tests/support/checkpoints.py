"""Small untrained checkpoints, and a check of the errors about their files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from detection.d3.checkpoints import Checkpoint, TowerFile, save
from detection.d3.checkpoints.tower_file import weights_digest
from detection.d3.errors import CheckpointError
from detection.d3.network import Architecture, ClipTowerConfig, D3Network, ResidualTowerConfig
from detection.d3.preprocessing import Preprocessing

SIZE = {"image_size": 64, "shuffle_patch": 16}
ARCHITECTURE = Architecture(
    tower=ResidualTowerConfig(width=8, residuals=4, spatial=(4, 8), spectra=2, spectral=(4, 8)),
    **SIZE,
)
LEARNER = Architecture(  # large enough to learn stripes
    tower=ResidualTowerConfig(width=16, residuals=6, spatial=(8, 8), spectra=2, spectral=(8, 8)),
    **SIZE,
)
STRIPES = {"mean": (0.5,) * 3, "std": (4 / 255,) * 3}  # the preprocessing that shows them


def a_clip(**changes) -> Architecture:
    """Return the architecture of a small CLIP tower with features from several blocks."""
    tower = {"width": 64, "layers": 2, "patch_size": 16, "reads": (0, 1), "features": 24}
    return Architecture(tower=ClipTowerConfig(**tower | changes), **SIZE)


def untrained(
    architecture: Architecture = ARCHITECTURE, *, crops: dict | None = None, seed: int = 0, **fields
) -> Checkpoint:
    """Return random weights, always the same; ``crops`` are options of the preprocessing."""
    torch.manual_seed(seed)
    standard = {
        "name": "d3-test",
        "architecture": architecture,
        "preprocessing": Preprocessing(kind="crops", size=64, **crops or {}),
        "weights": D3Network(architecture).state_dict(),
    }
    return Checkpoint(**standard | fields)


def a_checkpoint(**changes) -> Checkpoint:
    """Return random weights, always the same, with all fields set."""
    fields = {
        "permutation_seed": 7,
        "permutations": 2,
        "threshold": 0.625,
        "uncertain": (0.25, 0.75),
        "temperature": 1.5,
        "metrics": {"auc": {"test": 0.5}},
        "training": {"command": "train “it”", "epochs": 3},
    }
    return untrained(crops={"max_crops": 4}, **fields | changes)


def tower_apart(network: D3Network, folder: Path) -> TowerFile:
    """Write the tower of a network into its own file."""
    tower = network.tower.state_dict()
    digest = weights_digest({name: tensor.numpy() for name, tensor in tower.items()})
    tower_file = TowerFile("clip-small", digest.hexdigest())
    save_file(tower, tower_file.path(folder))
    return tower_file


def saved(checkpoint: Checkpoint, path: Path) -> Path:
    save(checkpoint, path)
    return path


def rewritten(path: Path, changes: dict[str, str | None]) -> Path:
    """Save a file again with changed metadata. None as a value deletes an entry."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | changes
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_file(load_file(path), path, kept)
    return path


def with_weights(
    checkpoint: Checkpoint, changes: dict[str, Callable[[torch.Tensor], object]]
) -> Checkpoint:
    """Return the checkpoint after these functions changed weights in place."""
    weights = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    for name, change in changes.items():
        change(weights[name])
    return replace(checkpoint, weights=weights)


def overflowing_checkpoint() -> Checkpoint:
    """Return a checkpoint whose logits are not finite."""
    return with_weights(a_checkpoint(), {"tower.project.weight": lambda w: w.fill_(1e38)})


@contextmanager
def refused(path: Path, problem: str = ".", *, error: type[Exception] = CheckpointError):
    """Expect the error, as one sentence that names the file."""
    with pytest.raises(error, match=problem) as caught:
        yield
    text = str(caught.value).replace(str(path), "FILE")
    assert text != str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text
