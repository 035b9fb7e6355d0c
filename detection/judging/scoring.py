"""The one queue before the model: what all requests of this process want to have judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from detection import prometheus
from detection.errors import QueueFullError
from detection.judging.batcher import Batcher, StoppedError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from torch import Tensor

    from detection.d3 import Detector

MAX_ON_GPU = 64  # images of one call; the engine cuts them into passes that fit
MAX_ON_CPU = 8  # where images share no pass, more would only keep the first of them waiting
ROOM = 128  # images that wait, as the network sees them: with d3-tiny up to 6.75 MiB each
LINGER_SECONDS = 0.002
THREADS = 2  # while one gathers results and takes the next images, the other keeps the device busy

# Of whoever runs now: have they gone, so that nobody waits for the scores? See Batcher.submit.
is_caller_gone: ContextVar[Callable[[], bool]] = ContextVar("is_caller_gone", default=lambda: False)


def ask_for_scores(detector: Detector, images: list[Tensor]) -> list[Future[float]]:
    """Promises of the fake scores of prepared images, judged together with those of other threads.

    A promise raises D3Error where the network cannot judge the image, and CallerGoneError when
    ``is_caller_gone`` says so before the image's turn. Raises QueueFullError when the process ends.
    """
    try:
        return _batcher.submit(detector, images, is_gone=is_caller_gone.get())
    except StoppedError as error:
        raise QueueFullError("The service is stopping; try again.") from error


def finish_scoring() -> None:
    """Waits for the images that were accepted, and takes no more; for a process that ends."""
    _batcher.stop()


def _judge(detector: Detector, images: list[Tensor]) -> list[float]:
    start = time.perf_counter()
    scores = detector.scores(images)
    prometheus.MODEL_SECONDS.observe(time.perf_counter() - start)
    prometheus.MODEL_IMAGES.inc(len(images))
    prometheus.MODEL_GROUP_IMAGES.observe(len(images))
    return scores


def _most(detector: Detector) -> int:
    return MAX_ON_CPU if detector.info.device == "cpu" else MAX_ON_GPU


def a_batcher(*, threads: int) -> Batcher[Detector, Tensor, float]:
    """A detector is its own key: one that was activated meanwhile shares no call with another."""
    return Batcher(_judge, most=_most, room=ROOM, threads=threads, linger=LINGER_SECONDS)


_batcher = a_batcher(threads=THREADS)
prometheus.MODEL_QUEUE.set_function(lambda: _batcher.waiting)
