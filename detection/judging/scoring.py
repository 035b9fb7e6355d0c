"""The one queue before the model, for the images of all requests of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING

from detection import prometheus
from detection.errors import QueueFullError
from detection.judging.batcher import Batcher, StoppedError

if TYPE_CHECKING:
    from torch import Tensor

    from detection.d3 import Detector

MAX_ON_GPU = 64  # images of one call; the engine cuts them into passes that fit
MAX_ON_CPU = 1  # images share no pass, so a call of several only delays the first of them
ROOM = 128  # queued images, as the network sees them: with d3-tiny up to 6.75 MiB each
LINGER_SECONDS = 0.002
THREADS = 2  # while one hands out results and takes the next images, the device works for the other

# Returns whether the client of the present request has hung up; see Batcher.submit.
is_caller_gone: ContextVar[Callable[[], bool]] = ContextVar("is_caller_gone", default=lambda: False)


def ask_for_scores(detector: Detector, images: list[Tensor]) -> list[Future[float]]:
    """Return futures of the fake scores, 0..1, of prepared images. Images of other threads may
    share their calls of the model.

    A future raises D3Error if the network cannot judge the image, and CallerGoneError if
    ``is_caller_gone`` returns True at the image's turn. Raises QueueFullError if the process ends.
    """
    try:
        return _batcher.submit(detector, images, is_gone=is_caller_gone.get())
    except StoppedError as error:
        raise QueueFullError("The service is stopping; try again.") from error


def finish_scoring() -> None:
    """Judge the accepted images and accept no more, before the process ends."""
    _batcher.stop()


def _score(detector: Detector, images: list[Tensor]) -> list[float]:
    start = time.perf_counter()
    scores = detector.scores(images)
    prometheus.MODEL_SECONDS.observe(time.perf_counter() - start)
    prometheus.MODEL_IMAGES.inc(len(images))
    prometheus.MODEL_GROUP_IMAGES.observe(len(images))
    return scores


def _max_images(detector: Detector) -> int:
    return MAX_ON_CPU if detector.info.device == "cpu" else MAX_ON_GPU


def new_batcher(*, threads: int) -> Batcher[Detector, Tensor, float]:
    """Return a batcher with the detector as key, so that after an activation images for the old and
    the new detector share no call.
    """
    return Batcher(_score, max_items=_max_images, room=ROOM, threads=threads, linger=LINGER_SECONDS)


_batcher = new_batcher(threads=THREADS)
prometheus.MODEL_QUEUE.set_function(lambda: _batcher.waiting)
