"""Let only the owner of the process read records, files and the secret key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
PRIVATE_UMASK = OTHERS


def make_private(folder: Path) -> list[Path]:
    """Remove the rights of other users to a data folder, its files and all stored images.

    Return the paths that belong to another user and cannot be changed. Links are not followed. A
    folder that all users share, like ``/tmp``, is not changed.
    """
    if folder.stat().st_mode & stat.S_ISVTX:
        return []
    return [path for path in _own_paths(folder) if not _remove_rights(path)]


def _own_paths(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    stored = folder / "files"
    if stored.is_dir():
        yield stored
        yield from (path for path in stored.rglob("*") if not path.is_symlink())


def _remove_rights(path: Path) -> bool:
    """Return False for a path of another user, whose rights cannot be changed."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            path.chmod(mode & ~OTHERS)
    except FileNotFoundError:  # deleted in the meantime
        return True
    except PermissionError:
        return False
    return True
