"""Measure a detector's speed and the hardware's peak, and compute a score in the plain way."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from detection.d3 import Detector
from detection.d3.network import shuffle_patches
from detection.d3.runtime import DTYPES

PEAK_SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}  # of square matrices
PEAK_SECONDS = 0.5  # for each side


def matrix_peak(device: torch.device, precision: str) -> float:
    """Return the FLOP/s of a product of two square matrices, at the fastest size."""
    return max(_product_rate(side, device, precision) for side in PEAK_SIDES[device.type])


def _product_rate(side: int, device: torch.device, precision: str) -> float:
    left, right = torch.randn(2, side, side, device=device).to(DTYPES[precision])

    def multiply() -> None:
        functional.linear(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    multiply()
    return 2 * side**3 / median(repeated(multiply, PEAK_SECONDS))


def operations(detector: Detector, views: Tensor) -> int:
    """Return the FLOP of the matrix products and convolutions for one image."""
    counter = FlopCounterMode(display=False)
    # The counter ignores a CPU's fused attention, so attention is computed step by step.
    with sdpa_kernel(SDPBackend.MATH), counter, torch.inference_mode():
        detector._inference_network(views.to(detector.info.device), detector._permutations)
    return counter.get_total_flops()


@torch.inference_mode()
def plain_score(detector: Detector, views: Tensor) -> float:
    """Return the fake score of one image in fp32, with one pass for each view."""
    network, device = detector._network, torch.device(detector.info.device)
    views, patch = views.to(device), network.architecture.shuffle_patch
    original = network.read(views)
    shuffled = [
        network.read(shuffle_patches(views, permutation, patch))
        for permutation in detector._permutations
    ]
    logits = network.classify(torch.stack(shuffled), original)[..., 0]
    return (logits.mean().double() / detector._temperature).sigmoid().item()


def repeated(work: Callable[[], Any], seconds: float) -> list[float]:
    """Repeat ``work`` for ``seconds``, at least once; return the seconds of each repetition."""
    took: list[float] = []
    while sum(took) < seconds:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return took


def images_per_second(detector: Detector, views: list[Tensor], seconds: float) -> float:
    """Return the speed of the engine alone, for these prepared images together."""
    return len(views) / median(repeated(lambda: detector.logits(views), seconds))
