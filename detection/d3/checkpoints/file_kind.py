"""Recognise the kind of a checkpoint file by its content; say what other files are."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..errors import CheckpointError
from ..files import reason

_LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")  # torch.save before version 1.6
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def file_kind(path: Path) -> str:
    """Return "safetensors", "torch" or "torchscript", by content. Raises CheckpointError."""
    if path.is_dir():
        raise CheckpointError(f"The checkpoint {path} is a directory, not a file.")
    try:
        with path.open("rb") as file:
            start = file.read(100)
    except OSError as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read: {reason(error)}.") from error
    if not start:
        raise CheckpointError(f"The checkpoint {path} is empty.")
    if start.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if start.startswith(_LEGACY_TORCH):
        return "torch"
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(_LFS_POINTER):
        raise CheckpointError(
            f"The checkpoint {path} is a Git LFS pointer, not weights; git lfs pull fetches them."
        )
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise CheckpointError(
            f"The checkpoint {path} is a web page, not weights; download the file itself."
        )
    if start.startswith(b"\x80"):
        raise CheckpointError(f"The file {path} is a Python pickle, which could run code.")
    raise CheckpointError(f"The file {path} is not a checkpoint of any known format.")


def _archive_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # zipfile has no common error for hostile bytes
        raise CheckpointError(f"The checkpoint {path} is truncated or damaged.") from error
    files = {name.partition("/")[2] for name in names}
    if "data.pkl" not in files:
        raise CheckpointError(f"The file {path} is a ZIP archive, but not one of PyTorch.")
    return "torchscript" if "constants.pkl" in files else "torch"
