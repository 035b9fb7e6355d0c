"""Without a broker: one thread of the process judges the images that wait, batch after batch, and
another one sends the webhooks that are due.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import connection

from detection.d3.errors import D3Error
from detection.errors import UnavailableError, database_errors
from detection.judging import get_detector
from detection.models import PredictionBatch, now
from detection.queue.closing import close_left_open, unfinished_batches
from detection.queue.leases import has_waiting, judge_images
from detection.queue.webhooks import deliver_due_webhooks, next_webhook_at

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0  # before looking again, for what is down or judged by another process
LONGEST_PAUSE_SECONDS = 60.0
DONE = None


class Background:
    """A thread that looks for work until there is none; ``look`` does what it finds, and returns
    DONE, or in how many seconds to look again.
    """

    def __init__(self, name: str, look: Callable[[], float | None]) -> None:
        self.stopping = threading.Event()
        self._name, self._look = name, look
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._due = threading.Event()  # there may be work since the thread looked last
        self._finishing = threading.Event()

    def start(self) -> None:
        """Something is to be done."""
        with self._lock:
            self._due.set()
            if self._thread is None and not self.stopping.is_set():
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()  # which may raise, where there are too many
                self._thread = thread

    def is_idle(self) -> bool:
        return self._thread is None

    def finish(self, *, within: float) -> None:
        """Waits for what can be done now, as far as the time lasts; then for what is at hand."""
        if thread := self._thread:
            self._finishing.set()
            self._due.set()  # it may pause
            thread.join(within)
            self.stopping.set()
            self._due.set()
            thread.join()
            self._finishing.clear()
            self.stopping.clear()

    def _run(self) -> None:
        try:
            while self._goes_on():
                pause = self._looked()
                if pause is not DONE:
                    self._due.wait(pause)
                    self._due.set()
        finally:
            connection.close()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._due.is_set() and not self.stopping.is_set():
                self._due.clear()
                return True
            self._thread = None
            return False

    def _looked(self) -> float | None:
        try:
            pause = self._look()
        except (UnavailableError, D3Error) as error:
            logger.warning("What waits here has to wait longer: %s", error)
            return PAUSE_SECONDS
        except Exception:
            logger.exception("What waits here broke off; it is tried again.")
            return PAUSE_SECONDS
        return DONE if self._finishing.is_set() else pause


def judge_all(*, is_stopped: Callable[[], bool] = bool) -> bool:
    """Judges what waits, batch after batch; False when some still waits, since other processes
    judge it, or judging it broke off. Raises UnavailableError, and D3Error without a detector.
    """
    with database_errors():
        batches = list(unfinished_batches())
    if batches:
        get_detector()
    with database_errors():
        for batch in batches:
            if is_stopped():
                break
            _judge_batch(batch, is_stopped)
        return not any(has_waiting(batch=batch) for batch in unfinished_batches())


def _judge_batch(batch: PredictionBatch, is_stopped: Callable[[], bool]) -> None:
    """Raises UnavailableError; whatever else is wrong must not keep other batches waiting."""
    try:
        with database_errors():
            close_left_open(batch=batch)
            judge_images(batch_id=batch.pk, is_stopped=is_stopped)
    except D3Error as error:
        logger.warning("Judging batch %s broke off: %s", batch.pk, error)
    except UnavailableError:
        raise
    except Exception:
        logger.exception("Judging batch %s broke off; it is tried again.", batch.pk)


def _judge() -> float | None:
    is_done = judge_all(is_stopped=_images.stopping.is_set)
    _webhooks.start()
    if not is_done:
        return PAUSE_SECONDS
    with database_errors():  # those that may get more are closed when none has come for a day
        return LONGEST_PAUSE_SECONDS if unfinished_batches().exists() else DONE


def _deliver() -> float | None:
    deliver_due_webhooks()
    due = next_webhook_at()
    if due is None:
        return DONE
    return min(max((due - now()).total_seconds(), PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


_images = Background("batches", _judge)
_webhooks = Background("webhooks", _deliver)


def start() -> None:
    """Images wait, or may wait."""
    _images.start()


def is_judging() -> bool:
    return not _images.is_idle()


def is_idle() -> bool:
    return _images.is_idle() and _webhooks.is_idle()


def finish(*, within: float) -> None:
    """What is not done in this time is left to the next process."""
    _images.finish(within=within)
    _webhooks.finish(within=0)
