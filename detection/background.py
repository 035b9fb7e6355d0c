"""Without a broker: one thread of the process judges the images that wait, batch after batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import connection

from detection.d3.errors import D3Error
from detection.queue import close_left_open, has_waiting, judge_images, unfinished_batches
from detection.unavailable import UnavailableError, database_errors

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0  # before looking again, for what is down or judged by another process


class _Background:
    """A thread while something waits; there is none while nothing does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._due = threading.Event()  # something may have come since the thread looked last
        self._finishing = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        with self._lock:
            self._due.set()
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
                self._thread.start()

    def is_idle(self) -> bool:
        return self._thread is None

    def finish(self, *, within: float) -> None:
        self._finishing.set()
        if thread := self._thread:
            thread.join(within)
            self._stopping.set()
            self._due.set()
            thread.join()

    def _run(self) -> None:
        try:
            while self._goes_on():
                if not self._look():
                    self._due.wait(PAUSE_SECONDS)
                    self._due.set()
        finally:
            connection.close()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._due.is_set() and not self._stopping.is_set():
                self._due.clear()
                return True
            self._thread = None
            return False

    def _look(self) -> bool:
        """Judges what can be judged; False when there may be more to do later."""
        try:
            is_done = judge_all(is_stopped=self._stopping.is_set)
        except (UnavailableError, D3Error) as error:
            logger.warning("Batches wait: %s", error)
            return False
        except Exception:
            logger.exception("Judging broke off; it is tried again.")
            return False
        return is_done or self._finishing.is_set()


_background = _Background()
start, is_idle, finish = _background.start, _background.is_idle, _background.finish


def judge_all(*, is_stopped: Callable[[], bool] = bool) -> bool:
    """Judges what waits, batch after batch; False when some still waits, since other processes
    judge it. Raises UnavailableError and D3Error.
    """
    with database_errors():
        for batch in list(unfinished_batches()):
            if is_stopped():
                break
            close_left_open(batch=batch)
            judge_images(batch_id=batch.pk, is_stopped=is_stopped)
        return not any(has_waiting(batch=batch) for batch in unfinished_batches())
