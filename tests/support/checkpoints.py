"""A small untrained checkpoint, and the form of the errors about its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from detection.d3.checkpoints import Checkpoint
from detection.d3.errors import CheckpointError
from detection.d3.network import Architecture, D3Network, ResidualTowerConfig
from detection.d3.preprocessing import Preprocessing

ARCHITECTURE = Architecture(
    tower=ResidualTowerConfig(width=8, residuals=4, spatial=(4, 8), spectra=2, spectral=(4, 8)),
    image_size=64,
    shuffle_patch=16,
)


def a_checkpoint(**changes) -> Checkpoint:
    """Return random weights, always the same, with all fields set."""
    torch.manual_seed(0)
    checkpoint = Checkpoint(
        name="d3-test",
        architecture=ARCHITECTURE,
        preprocessing=Preprocessing(kind="crops", size=64, max_crops=4),
        weights=D3Network(ARCHITECTURE).state_dict(),
        permutation_seed=7,
        permutations=2,
        threshold=0.625,
        uncertain=(0.25, 0.75),
        temperature=1.5,
        metrics={"auc": {"test": 0.5}},
        training={"command": "train “it”", "epochs": 3},
    )
    return replace(checkpoint, **changes)


def assert_one_sentence(error: CheckpointError, path: Path) -> None:
    text = str(error).replace(str(path), "FILE")
    assert text != str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text
