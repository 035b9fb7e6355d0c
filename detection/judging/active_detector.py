"""The one detector of each process: loaded at its first use, and replaced without a pause."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from PIL import Image

from detection import d3
from detection.d3.errors import D3Error, TowerError
from detection.judging.checkpoint_choice import (
    State,
    active_checkpoint,
    choice_state,
    fallback_notice,
    has_fallback,
)

logger = logging.getLogger(__name__)


def load_detector(path: Path, *, device: str | None = None) -> d3.Detector:
    """Load a checkpoint onto ``device``, by default the configured one.

    Raises CheckpointError, and D3Error for a device that does not exist.
    """
    # Imported here: PyTorch takes seconds to import, and `migrate` does not need it.
    from detection.d3.runtime import INFERENCE, reuse_freed_memory

    reuse_freed_memory(INFERENCE)
    return d3.Detector.from_checkpoint(
        path,
        clip_weights=settings.CLIP_WEIGHTS,
        clip_cache=settings.CLIP_CACHE,
        device=device or settings.DEVICE,
        precision=settings.PRECISION,
    )


def load_and_try_detector(path: Path) -> d3.Detector:
    """Load a checkpoint and judge one picture: complete weights may be unusable.

    Raises D3Error.
    """
    detector = load_detector(path)
    detector.scores([Image.linear_gradient("L").convert("RGB")])
    return detector


class ActiveDetector:
    """The detector of the active checkpoint.

    ``notice`` is a sentence for users while the fallback judges, otherwise None.
    """

    def __init__(self) -> None:
        self.notice: str | None = None
        self._detector: d3.Detector | None = None
        self._state: State | None = None  # of the choice that the detector was loaded for
        self._loading = threading.Lock()
        self._successor: threading.Thread | None = None  # loads the next detector

    @property
    def detector(self) -> d3.Detector:
        """Return the detector; the first call loads it. After an activation a thread loads the next
        detector; meanwhile this one stays in use.

        Raises D3Error when the first detector cannot be loaded.
        """
        if self._detector is None:
            self._load_first()
        elif choice_state() != self._state and self._successor is None:
            self._load_successor()
        return self._detector

    def _load_first(self) -> None:
        with self._loading:
            if self._detector is None:
                self._state = choice_state()  # read before the choice, to notice a later change
                self._load(load_detector)

    def _load_successor(self) -> None:
        with self._loading:
            if self._successor is None and choice_state() != self._state:
                thread = threading.Thread(target=self._replace, name="activation")
                self._successor = thread
                try:
                    thread.start()
                except RuntimeError:  # no more threads: the next use tries again
                    self._successor = None

    def _replace(self) -> None:
        """Load the active checkpoint in place of the old one. If that fails, use the old one until
        the next activation.
        """
        state, old = choice_state(), self._detector.info
        try:
            self._load(load_and_try_detector)
        except D3Error as error:
            logger.error("%s %s stays active: %s", old.name, old.version, error)
        except Exception:  # no memory for two detectors, for example
            logger.exception("%s %s stays active.", old.name, old.version)
        else:
            new = self._detector.info
            logger.info("%s %s replaces %s %s.", new.name, new.version, old.name, old.version)
        finally:
            self._state = state
            self._successor = None

    def _load(self, load: Callable[[Path], d3.Detector]) -> None:
        """Load the active checkpoint or, without its CLIP tower, the fallback. Raises D3Error."""
        try:
            self._detector, self.notice = load(active_checkpoint()), None
        except TowerError as error:
            if not has_fallback():
                raise
            logger.warning("%s judges for now. %s", settings.FALLBACK_CHECKPOINT.stem, error)
            self._detector, self.notice = load(settings.FALLBACK_CHECKPOINT), fallback_notice()


_active = ActiveDetector()


def get_detector() -> d3.Detector:
    """Return the detector of this process. Raises D3Error when it cannot be loaded."""
    return _active.detector


def detector_info() -> d3.DetectorInfo | None:
    """Return facts about the detector of this process, or None when it cannot be loaded."""
    try:
        return get_detector().info
    except D3Error:
        return None


def detector_notice() -> str | None:
    """Return a sentence for users while the fallback judges, otherwise None."""
    return _active.notice
