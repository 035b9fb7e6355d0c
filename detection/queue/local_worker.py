"""The worker of a process without a broker: one thread judges queued images, batch after batch, and
another thread sends the webhooks that are due.
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
from detection.queue.closing import close_left_open, queued_images, unfinished_batches
from detection.queue.judging import judge_batch
from detection.queue.webhooks import deliver_due_webhooks, next_webhook_at

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0  # during an outage, and while another process judges the rest
MAX_PAUSE_SECONDS = 60.0
DONE = None


class Background:
    """A thread that runs as long as there is work. ``work`` does the present work, and returns
    DONE, or the seconds after which to call it again.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self.stopping = threading.Event()
        self._name, self._work = name, work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._due = threading.Event()  # there may be new work
        self._finishing = threading.Event()

    def start(self) -> None:
        """Do the present work, if there is any."""
        with self._lock:
            self._due.set()
            if self._thread is None and not self.stopping.is_set():
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()  # may raise, if there are too many threads
                self._thread = thread

    def is_working(self) -> bool:
        return self._thread is not None

    def finish(self, *, within: float) -> None:
        """Work for ``within`` seconds at most; then complete the current step alone."""
        if thread := self._thread:
            self._finishing.set()
            self._due.set()  # ends a pause
            thread.join(within)
            self.stopping.set()
            self._due.set()
            thread.join()
            self._finishing.clear()
            self.stopping.clear()

    def _run(self) -> None:
        try:
            while self._has_work():
                pause = self._work_once()
                if pause is not DONE:
                    self._due.wait(pause)
                    self._due.set()
        finally:
            connection.close()

    def _has_work(self) -> bool:
        with self._lock:
            if self._due.is_set() and not self.stopping.is_set():
                self._due.clear()
                return True
            self._thread = None
            return False

    def _work_once(self) -> float | None:
        try:
            pause = self._work()
        except (UnavailableError, D3Error) as error:
            logger.warning("Queued work is delayed: %s", error)
            return PAUSE_SECONDS
        except Exception:
            logger.exception("Queued work failed; it is tried again.")
            return PAUSE_SECONDS
        return DONE if self._finishing.is_set() else pause


def judge_batches(*, is_stopped: Callable[[], bool] = lambda: False) -> bool:
    """Judge all queued images, batch after batch. Return False when some stay queued, since other
    processes judge them or judging them failed.

    Raises UnavailableError, and D3Error without a detector.
    """
    with database_errors():
        batches = list(unfinished_batches())
    if batches:
        get_detector()
    with database_errors():
        for batch in batches:
            if is_stopped():
                break
            _try_to_judge(batch, is_stopped)
        return not any(queued_images(batch).exists() for batch in unfinished_batches())


def _try_to_judge(batch: PredictionBatch, is_stopped: Callable[[], bool]) -> None:
    """Judge a batch. Log failures, which must not delay the other batches, but raise
    UnavailableError.
    """
    try:
        with database_errors():
            close_left_open(batch=batch)
            judge_batch(batch_id=batch.pk, is_stopped=is_stopped)
    except UnavailableError:
        raise
    except D3Error as error:
        logger.warning("Judging batch %s failed: %s", batch.pk, error)
    except Exception:
        logger.exception("Judging batch %s failed; it is tried again.", batch.pk)


def _work_on_images() -> float | None:
    is_done = judge_batches(is_stopped=_images.stopping.is_set)
    _webhooks.start()
    if not is_done:
        return PAUSE_SECONDS
    with database_errors():  # open batches are closed when no part was added for a day
        return MAX_PAUSE_SECONDS if unfinished_batches().exists() else DONE


def _work_on_webhooks() -> float | None:
    deliver_due_webhooks()
    due = next_webhook_at()
    if due is None:
        return DONE
    return min(max((due - now()).total_seconds(), PAUSE_SECONDS), MAX_PAUSE_SECONDS)


_images = Background("batches", _work_on_images)
_webhooks = Background("webhooks", _work_on_webhooks)


def start() -> None:
    """Judge the queued images, if there are any."""
    _images.start()


def is_judging() -> bool:
    return _images.is_working()


def finish(*, within: float) -> None:
    """Judge for ``within`` seconds; the next process judges the rest."""
    _images.finish(within=within)
    _webhooks.finish(within=0)
