"""The one detector that each process owns."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from detection.d3.errors import D3Error
from detection.judging.active_checkpoint import (
    State,
    choice_state,
    load_active_detector,
    load_and_try_detector,
    load_detector,
)

if TYPE_CHECKING:
    from detection.d3 import Detector, DetectorInfo

logger = logging.getLogger(__name__)


class ActiveDetector:
    """The detector of the active checkpoint; its successor is loaded beside it."""

    def __init__(self) -> None:
        self._detector: Detector | None = None
        self.notice: str | None = None  # for users, while another detector than the default judges
        self._state: State | None = None  # of the choice that the detector was loaded for
        self._loading = threading.Lock()
        self._successor: threading.Thread | None = None  # loads the next one

    @property
    def detector(self) -> Detector:
        """That of the active checkpoint, loaded on first use, whichever thread comes first.

        When another checkpoint has been activated since, it is loaded beside the old one, which
        goes on working until then. Raises D3Error when the first one cannot be loaded.
        """
        if self._detector is None:
            self._load_first()
        elif choice_state() != self._state and self._successor is None:
            self._load_successor()
        return self._detector

    def _load_first(self) -> None:
        with self._loading:
            if self._detector is None:
                self._state = choice_state()  # before the choice is read: a change after it counts
                self._detector, self.notice = load_active_detector(load_detector)

    def _load_successor(self) -> None:
        with self._loading:
            if self._successor is None and choice_state() != self._state:
                thread = threading.Thread(target=self._replace, name="activation")
                self._successor = thread
                try:
                    thread.start()
                except RuntimeError:  # no more threads: the next one who asks tries again
                    self._successor = None

    def _replace(self) -> None:
        """Changes over to the active checkpoint, or keeps the old one until the next choice."""
        state, old = choice_state(), self._detector.info
        try:
            self._detector, self.notice = load_active_detector(load_and_try_detector)
        except D3Error as error:
            logger.error("%s %s stays active: %s", old.name, old.version, error)
        except Exception:  # no memory for two, say
            logger.exception("%s %s stays active.", old.name, old.version)
        else:
            new = self._detector.info
            logger.info("%s %s follows %s %s.", new.name, new.version, old.name, old.version)
        finally:
            self._state = state
            self._successor = None


_active = ActiveDetector()


def get_detector() -> Detector:
    """The detector of this process."""
    return _active.detector


def detector_info() -> DetectorInfo | None:
    """What judges in this process; None where no detector can be loaded."""
    try:
        return get_detector().info
    except D3Error:
        return None


def detector_notice() -> str | None:
    """A sentence for users about a detector that is not the one it should be.

    None where all is well, and before the detector is loaded.
    """
    return _active.notice
