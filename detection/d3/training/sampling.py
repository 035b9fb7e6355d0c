"""Choose samples: the batches of an epoch, or some samples of a data set."""

from __future__ import annotations

import random
from collections import Counter

from ..dataset import FAKE, REAL, Sample


def epoch_seed(seed: int, epoch: int) -> int:
    """Return a seed that differs between the epochs of a run and between runs."""
    return seed * 1_000_003 + epoch


def paired_batches(samples: list[Sample], batch_size: int, seed: int) -> list[list[int]]:
    """Shuffle samples into batches of indices, each fake beside the real picture of its pair."""
    pairs: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        pairs.setdefault(sample.pair, []).append(index)
    groups = list(pairs.values())
    random.Random(seed).shuffle(groups)
    return in_batches([index for group in groups for index in group], batch_size)


def in_batches(order: list[int], batch_size: int) -> list[list[int]]:
    """Split the indices in their order; the last batch may be smaller."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def balanced_batches(
    samples: list[Sample], batch_size: int, seed: int, *, batches: int
) -> list[list[int]]:
    """Draw batches of indices, as many fakes as real pictures in each, with replacement.

    The weight of a source of fakes is the square root of its size, so that a generator with many
    pictures leaves room for one with few. Real pictures have equal weights.
    """
    draw = random.Random(seed)
    sizes = Counter(sample.source for sample in samples if sample.label == FAKE)
    fakes = [index for index, sample in enumerate(samples) if sample.label == FAKE]
    weights = [sizes[samples[index].source] ** -0.5 for index in fakes]
    real = [index for index, sample in enumerate(samples) if sample.label == REAL]
    half = batch_size // 2
    return [
        draw.choices(fakes, weights, k=half) + draw.choices(real, k=batch_size - half)
        for _ in range(batches)
    ]


def spread_over_sources(samples: list[Sample], count: int, *, seed: int) -> list[Sample]:
    """Choose at most ``count`` samples, half of each class, from the class's sources in turn."""
    taken: Counter[tuple[int, str]] = Counter()
    turns: dict[int, list[tuple[int, Sample]]] = {REAL: [], FAKE: []}
    for sample in random.Random(seed).sample(samples, len(samples)):
        turns[sample.label].append((taken[sample.label, sample.source], sample))
        taken[sample.label, sample.source] += 1
    return [
        sample
        for own in turns.values()
        for _, sample in sorted(own, key=lambda each: each[0])[: count // 2]
    ]
