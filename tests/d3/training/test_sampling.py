from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from detection.d3.dataset import Sample
from detection.d3.training.sampling import paired_batches, spread_over_sources

pytestmark = pytest.mark.stateless


def test_a_pair_shares_a_batch():
    batches = paired_batches(
        [Sample(Path(f"{i}.png"), "gan", y, pair=str(i)) for y in (0, 1) for i in range(8)],
        4,
        seed=3,
    )
    assert sorted(index for batch in batches for index in batch) == list(range(16))
    for batch in batches:
        assert {index % 8 for index in batch if index < 8} == {i % 8 for i in batch if i >= 8}


def test_all_samples_of_small_sources_are_chosen():
    sizes = {("gan", 1): 50, ("rare", 1): 3, ("photos", 0): 9}
    samples = [
        Sample(Path(f"{source}/{number}"), source, label)
        for (source, label), size in sizes.items()
        for number in range(size)
    ]
    taken = spread_over_sources(samples, 20, seed=0)
    assert len(set(taken)) == len(taken)
    counts = Counter((sample.source, sample.label) for sample in taken)
    assert counts == {("gan", 1): 7, ("rare", 1): 3, ("photos", 0): 9}
    assert (
        spread_over_sources(samples, 20, seed=1)
        != taken
        == spread_over_sources(samples, 20, seed=0)
    )
