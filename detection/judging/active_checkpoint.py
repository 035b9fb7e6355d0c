"""Which checkpoint is active: the one that was activated on this machine, else the configured one.

The choice is one small file, ``settings.ACTIVE_CHECKPOINT_FILE``, which holds a path. Where the
default checkpoint counts and its CLIP tower is missing, ``settings.FALLBACK_CHECKPOINT`` judges.
Processes look at the choice and at the tower before each use of the detector, so that they need no
restart.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from PIL import Image

from detection.d3.checkpoints import CLIP_VIT_B_16, TowerFile, describe
from detection.d3.errors import CheckpointError, TowerError

if TYPE_CHECKING:
    from detection.d3 import Detector

logger = logging.getLogger(__name__)

FileState = tuple[int, int] | None
State = tuple[FileState, FileState]


def active_checkpoint() -> Path:
    """Raises CheckpointError when the choice cannot be read."""
    try:
        path = os.fsdecode(settings.ACTIVE_CHECKPOINT_FILE.read_bytes()).removesuffix("\n")
    except FileNotFoundError:
        return Path(settings.MODEL_CHECKPOINT_PATH)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(
            f"The file {settings.ACTIVE_CHECKPOINT_FILE} cannot be read: {reason}."
        ) from error
    if not Path(path).is_absolute():
        raise CheckpointError(f"The file {settings.ACTIVE_CHECKPOINT_FILE} names no checkpoint.")
    return Path(path)


def choice_state() -> State:
    """Something that is another after each change of the choice, and once the default's tower has
    been fetched. It costs a few microseconds.
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
    """Whether the configuration does not count."""
    return _file_state(settings.ACTIVE_CHECKPOINT_FILE) is not None


def has_fallback() -> bool:
    """Whether another checkpoint may judge in place of the active one."""
    return settings.FALLBACK_CHECKPOINT is not None and not is_activated()


def lacking_tower(path: Path) -> TowerFile | None:
    """The CLIP tower that the checkpoint names, if it is not there. Raises CheckpointError."""
    named = describe(path).get("tower_file")
    if named is None or settings.CLIP_WEIGHTS:
        return None
    tower_file = TowerFile(**named)
    return None if tower_file.is_in(settings.CLIP_CACHE) else tower_file


def activate(path: Path) -> None:
    """Makes it the active checkpoint; each activation is a change, also of the same path.

    Raises CheckpointError when the choice cannot be written; then it is as before.
    """
    chosen = settings.ACTIVE_CHECKPOINT_FILE
    part = chosen.with_name(f".{chosen.name}.{os.getpid()}.part")
    try:
        part.write_bytes(os.fsencode(path.resolve()) + b"\n")
        part.replace(chosen)
    except OSError as error:
        raise _unwritable(error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def return_to_configured() -> None:
    """MODEL_CHECKPOINT_PATH counts again. Raises CheckpointError."""
    try:
        settings.ACTIVE_CHECKPOINT_FILE.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(error) from error


def load_detector(path: Path, *, device: str | None = None) -> Detector:
    """On the configured device unless another is given.

    Raises CheckpointError, and D3Error for a device that is not there.
    """
    # Imported here: PyTorch takes seconds to import, and `migrate` does not need it.
    from detection.d3 import Detector
    from detection.d3.runtime import INFERENCE, keep_freed_memory

    keep_freed_memory(INFERENCE)
    return Detector.from_checkpoint(
        path,
        clip_weights=settings.CLIP_WEIGHTS,
        clip_cache=settings.CLIP_CACHE,
        device=device or settings.DEVICE,
        precision=settings.PRECISION,
    )


def load_active_detector(load: Callable[[Path], Detector]) -> tuple[Detector, str | None]:
    """``load`` the active checkpoint or, without its CLIP tower, the fallback.

    Beside the detector, a sentence for users that says why it is the fallback's, or None.
    Raises D3Error.
    """
    path = active_checkpoint()
    try:
        return load(path), None
    except TowerError as error:
        if not has_fallback():
            raise
        logger.warning("%s judges for now. %s", settings.FALLBACK_CHECKPOINT.stem, error)
        return load(settings.FALLBACK_CHECKPOINT), fallback_notice()


def fallback_notice() -> str:
    """What users are told while the fallback judges."""
    fallback, default = settings.FALLBACK_CHECKPOINT.stem, Path(settings.MODEL_CHECKPOINT_PATH).stem
    return (
        f"The small detector {fallback} judges in place of {default}, whose CLIP tower is missing "
        "here; manage.py fetch_clip downloads it."
    )


def load_and_try_detector(path: Path) -> Detector:
    """Like ``load_detector``, and one picture is judged: weights may be whole and yet no use.

    Raises D3Error.
    """
    detector = load_detector(path)
    detector.scores([Image.linear_gradient("L").convert("RGB")])
    return detector


def _unwritable(error: OSError) -> CheckpointError:
    reason = (error.strerror or str(error)).lower()
    return CheckpointError(f"{settings.ACTIVE_CHECKPOINT_FILE} cannot be written: {reason}.")
