"""Choose the active checkpoint: the one that was activated on this machine, or the configured one.

The choice is one small file, ``settings.ACTIVE_CHECKPOINT_FILE``, which holds a path. While the
default checkpoint is active and its CLIP tower is missing, ``settings.FALLBACK_CHECKPOINT`` judges.
Processes look at both files before each use of the detector, so they need no restart.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from detection.d3.checkpoints import CLIP_VIT_B_16, TowerFile, describe
from detection.d3.errors import CheckpointError
from detection.d3.files import reason, replacing

FileState = tuple[int, int] | None
State = tuple[FileState, FileState]


def active_checkpoint() -> Path:
    """Return the path of the active checkpoint. Raises CheckpointError if the choice cannot be
    read.
    """
    try:
        path = os.fsdecode(settings.ACTIVE_CHECKPOINT_FILE.read_bytes()).removesuffix("\n")
    except FileNotFoundError:
        return Path(settings.MODEL_CHECKPOINT_PATH)
    except OSError as error:
        raise _choice_error("read", error) from error
    if not Path(path).is_absolute():
        raise CheckpointError(f"The file {settings.ACTIVE_CHECKPOINT_FILE} names no checkpoint.")
    return Path(path)


def choice_state() -> State:
    """Return a value that differs after each change of the choice, and after the download of the
    default's tower. It costs a few microseconds.
    """
    tower = CLIP_VIT_B_16.path(settings.CLIP_CACHE) if has_fallback() else None
    return _file_state(settings.ACTIVE_CHECKPOINT_FILE), tower and _file_state(tower)


def _file_state(path: Path) -> FileState:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def is_activated() -> bool:
    """Return whether a choice replaces the configured checkpoint."""
    return _file_state(settings.ACTIVE_CHECKPOINT_FILE) is not None


def has_fallback() -> bool:
    """Return whether another checkpoint may judge in place of the active one."""
    return settings.FALLBACK_CHECKPOINT is not None and not is_activated()


def fallback_notice() -> str:
    """Return what users read while the fallback judges."""
    fallback, default = settings.FALLBACK_CHECKPOINT.stem, Path(settings.MODEL_CHECKPOINT_PATH).stem
    return (
        f"The small detector {fallback} judges in place of {default}, whose CLIP tower is missing "
        "here; manage.py fetch_clip downloads it."
    )


def lacking_tower(path: Path) -> TowerFile | None:
    """Return the CLIP tower that the checkpoint names, if it is missing. Raises CheckpointError."""
    named = describe(path).get("tower_file")
    if named is None or settings.CLIP_WEIGHTS:
        return None
    tower_file = TowerFile(**named)
    return None if tower_file.is_in(settings.CLIP_CACHE) else tower_file


def activate(path: Path) -> None:
    """Make ``path`` the active checkpoint. Processes load it again even if it was active before.

    Raises CheckpointError if the choice cannot be written; then nothing is changed.
    """
    try:
        with replacing(settings.ACTIVE_CHECKPOINT_FILE) as part:
            part.write_bytes(os.fsencode(path.resolve()) + b"\n")
    except OSError as error:
        raise _choice_error("written", error) from error


def return_to_configured() -> None:
    """Make the configured checkpoint the active one. Raises CheckpointError."""
    try:
        settings.ACTIVE_CHECKPOINT_FILE.unlink(missing_ok=True)
    except OSError as error:
        raise _choice_error("written", error) from error


def _choice_error(verb: str, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"The file {settings.ACTIVE_CHECKPOINT_FILE} cannot be {verb}: {reason(error)}."
    )
