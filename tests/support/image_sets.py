"""Small data sets in the layout that training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.factories import noise_image


def labelled_images(
    root: Path, *, split: str = "test", sources: Sequence[str] = ("",), images: int = 3
) -> Path:
    """Write ``images`` different PNGs of noise per class and source; return ``root``."""
    for place, source in enumerate(sources):
        for label, name in enumerate(("0_real", "1_fake")):
            folder = root / split / source / name
            folder.mkdir(parents=True)
            for number in range(images):
                seed = 1000 * place + 100 * label + number
                noise_image(seed=seed).save(folder / f"{number}.png")
    return root
