"""Measure how much faster images are judged together.

Many threads judge one image each, in turns with the queue before the model and without it; the bare
engine judges the same images. ``python -m tests.load.coalescing [--clients 32] [--rounds 5]`` uses
MODEL_CHECKPOINT_PATH and DEVICE of the environment, and stores nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "d3site.settings")
os.environ.setdefault("DATA_DIR", tempfile.gettempdir() + "/d3-coalescing")
django.setup()

from prometheus_client import REGISTRY  # noqa: E402
from torch import Tensor  # noqa: E402

from detection.d3 import Detector  # noqa: E402
from detection.d3.images.decoding import decode_image  # noqa: E402
from detection.judging import pipeline, predict  # noqa: E402
from detection.judging.active_detector import get_detector  # noqa: E402
from detection.models import Source  # noqa: E402
from tests.support.factories import image_bytes  # noqa: E402

IMAGES_PER_CLIENT = 2  # in a round
MAX_TOGETHER = 64
ALONE_IMAGES = 20


def uploads(number: int) -> list[predict.Upload]:
    data = image_bytes(size=(256, 256))
    return [predict.Upload(f"{index}.jpg", data) for index in range(number)]


def judge(upload: predict.Upload) -> None:
    predict.predict_image(upload=upload, source=Source.SCAN, store=False)


@contextmanager
def each_for_itself() -> Iterator[None]:
    """Let every thread call the model without the queue."""
    queued = pipeline.ask_for_scores
    pipeline.ask_for_scores = asked_at_once
    try:
        yield
    finally:
        pipeline.ask_for_scores = queued


def asked_at_once(detector: Detector, images: list[Tensor]) -> list[Future[float]]:
    answers = [Future() for _ in images]
    for answer, score in zip(answers, detector.scores(images), strict=True):
        answer.set_result(score)
    return answers


class Rate(NamedTuple):
    """Speed and CPU time. On shared cores, the CPU time is the better figure."""

    images_per_second: float
    cpu_ms_per_image: float


def rate(images: int, work: Callable[[], object]) -> Rate:
    cpu = time.process_time()
    took = seconds(work)
    return Rate(images / took, 1000 * (time.process_time() - cpu) / images)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def together(clients: int) -> Rate:
    images = uploads(clients * IMAGES_PER_CLIENT)
    with ThreadPoolExecutor(clients) as threads:
        return rate(len(images), lambda: list(threads.map(judge, images)))


def bare(clients: int) -> Rate:
    """Measure the network alone, on prepared images in the largest groups."""
    detector = get_detector()
    images = [
        detector.prepare(decode_image(upload.data).pixels)
        for upload in uploads(clients * IMAGES_PER_CLIENT)
    ]
    groups = [images[i : i + MAX_TOGETHER] for i in range(0, len(images), MAX_TOGETHER)]
    return rate(len(images), lambda: [detector.scores(group) for group in groups])


def alone() -> tuple[float, float]:
    """Return the median milliseconds of one client's image with the queue and without."""
    queued, plain = [], []
    for upload in uploads(ALONE_IMAGES):
        queued.append(seconds(lambda upload=upload: judge(upload)))
        with each_for_itself():
            plain.append(seconds(lambda upload=upload: judge(upload)))
    return 1000 * statistics.median(queued), 1000 * statistics.median(plain)


def mean_group() -> float:
    name = "d3_model_group_images"
    return REGISTRY.get_sample_value(f"{name}_sum") / REGISTRY.get_sample_value(f"{name}_count")


def main(clients: int, rounds: int) -> None:
    info = get_detector().info
    together(clients)  # warm
    rates: dict[str, list[Rate]] = {"judged together": [], "each for itself": [], "bare engine": []}
    for _ in range(rounds):
        rates["judged together"].append(together(clients))
        with each_for_itself():
            rates["each for itself"].append(together(clients))
        rates["bare engine"].append(bare(clients))
    with ThreadPoolExecutor(1) as thread:  # as in the service, not the main thread
        queued, plain = thread.submit(alone).result()
    print(f"{info.name} in {info.precision} on {info.device}, {clients} clients, {rounds} rounds")
    for name, several in rates.items():
        speeds, costs = zip(*several, strict=True)
        speed, cost = statistics.median(speeds), statistics.median(costs)
        print(f"{name:20} {speed:8.1f} images/s {cost:8.1f} ms of CPU time an image")
    print(f"images in a call     {mean_group():8.1f}")
    for other in ("each for itself", "bare engine"):
        ratios = [
            ours.images_per_second / theirs.images_per_second
            for ours, theirs in zip(rates["judged together"], rates[other], strict=True)
        ]
        median, spread = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"together / {other:15} {median:.2f} ({spread})")
    print(f"one client           {queued:8.1f} ms with, {plain:.1f} without: {queued - plain:+.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
