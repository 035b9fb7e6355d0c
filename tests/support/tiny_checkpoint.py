"""A tiny checkpoint for the tests."""

from __future__ import annotations

from pathlib import Path


def save_untrained(path: Path) -> Path:
    """Save a tiny network with random weights, the same in each run."""
    # Imported here: PyTorch takes seconds, and not every test needs it.
    import torch

    from tests.support.checkpoints import saved, untrained

    with torch.random.fork_rng():
        return saved(untrained(), path)
