from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detection.d3.dataset import Sample
from detection.d3.training.validation import accuracy, auc, source_means

pytestmark = pytest.mark.stateless


def test_each_source_counts_the_same():
    samples = [Sample(Path("x"), "large", 0)] * 6 + [Sample(Path("x"), "large", 1)] * 2
    samples += [Sample(Path("x"), "small", 0), Sample(Path("x"), "small", 1)]
    scores = np.array([-1.0] * 8 + [-1.0, 1.0])
    mean = source_means(lambda labels, s: float(np.mean((s > 0) == labels)), samples, scores)
    assert mean == pytest.approx((0.75 + 1.0) / 2)


def test_the_auc_of_a_source_of_fakes_alone_is_against_all_real_pictures():
    samples = [Sample(Path("x"), "pairs", 0), Sample(Path("x"), "pairs", 1)]
    samples += [Sample(Path("x"), "fakes", 1)] * 2
    scores = np.array([-1.0, 1.0, -1.0, -1.0])
    assert source_means(accuracy, samples, scores) == pytest.approx(0.5)
    assert source_means(auc, samples, scores) == pytest.approx((1 + 0.5) / 2)
