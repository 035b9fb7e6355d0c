"""Which checkpoint is active: the one that was activated on this machine, else the configured one.

The choice is one small file, ``settings.ACTIVE_CHECKPOINT_FILE``, which holds a path. Processes
look at it before each use of the detector, so that they need no restart.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from PIL import Image

from detection.d3.errors import CheckpointError

if TYPE_CHECKING:
    from detection.d3 import Detector

State = tuple[int, int] | None


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
    """Something that is another after each change of the choice, and costs a few microseconds."""
    try:
        stat = settings.ACTIVE_CHECKPOINT_FILE.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def is_activated() -> bool:
    """Whether the configuration does not count."""
    return choice_state() is not None


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
    from detection.d3.memory import INFERENCE, keep_freed_memory

    keep_freed_memory(INFERENCE)
    return Detector.from_checkpoint(
        path,
        clip_weights=settings.CLIP_WEIGHTS,
        clip_cache=settings.CLIP_CACHE,
        device=device or settings.DEVICE,
        precision=settings.PRECISION,
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
