"""A tiny checkpoint for the tests."""

from __future__ import annotations

from pathlib import Path


def save_untrained(path: Path) -> Path:
    """Save a tiny network with random weights, equal in every run."""
    # Imported here: PyTorch takes seconds, and not every test needs it.
    import torch

    from detection.d3.checkpoints import Checkpoint, save
    from detection.d3.network import Architecture, D3Network, ResidualTowerConfig
    from detection.d3.preprocessing import Preprocessing

    tower = ResidualTowerConfig(width=8, residuals=4, spatial=(4, 8), spectra=2, spectral=(4, 8))
    architecture = Architecture(tower=tower, image_size=64, shuffle_patch=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = D3Network(architecture)
    checkpoint = Checkpoint(
        name="d3-test",
        architecture=architecture,
        preprocessing=Preprocessing(kind="crops", size=64),
        weights=network.state_dict(),
    )
    save(checkpoint, path)
    return path
