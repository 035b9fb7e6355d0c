"""Data sets in WildRF's layout: ``{train,val,test}/{source}/{0_real,1_fake}/*``.

The source level may be missing. The type of a file depends on its content, not on its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import DatasetError

SPLITS = ("train", "val", "test")
CLASS_FOLDERS = {"0_real": 0, "1_fake": 1}
REAL, FAKE = CLASS_FOLDERS.values()


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture. ``source`` is the generator's folder, "" where there is none."""

    path: Path
    source: str
    label: int  # 0 real, 1 fake
    pair: str = ""  # equal for a real picture and the fake made from it, which has the same name


def scan_dataset(root: Path | str, split: str) -> list[Sample]:
    """List the pictures of one split, sorted by path.

    Raises DatasetError when the split is missing or holds no pictures.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise DatasetError(f"{root} has no folder {split!r}: expected {split}/SOURCE/0_real/….")
    samples = [
        Sample(path, source, label, pair=_pair(root, source, path, parent / name))
        for source, parent in _sources(folder)
        for name, label in CLASS_FOLDERS.items()
        for path in sorted((parent / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if not samples:
        raise DatasetError(f"{folder} holds no pictures in folders 0_real and 1_fake.")
    return samples


def _pair(root: Path | str, source: str, path: Path, folder: Path) -> str:
    return f"{Path(root).name}/{source}/{path.relative_to(folder).with_suffix('')}"


def _sources(folder: Path) -> Iterable[tuple[str, Path]]:
    if any((folder / name).is_dir() for name in CLASS_FOLDERS):
        return [("", folder)]
    return [(child.name, child) for child in sorted(folder.iterdir()) if child.is_dir()]
