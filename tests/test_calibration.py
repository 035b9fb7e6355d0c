from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from detection.d3.calibration import calibrate


@pytest.fixture
def logits_and_labels():
    """Labels drawn with the probability that the logits state, then overconfident by three."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    labels = (random.random(20_000) < expit(logits)).astype(int)
    return 3 * logits, labels


def test_the_temperature_undoes_overconfidence(logits_and_labels):
    assert calibrate(*logits_and_labels).temperature == pytest.approx(3, rel=0.05)


def test_three_in_a_hundred_real_pictures_exceed_the_threshold(logits_and_labels):
    logits, labels = logits_and_labels
    fitted = calibrate(logits, labels)
    scores = expit(logits[labels == 0] / fitted.temperature)
    assert np.mean(scores > fitted.threshold) == pytest.approx(0.03, abs=0.001)


def test_the_threshold_lies_in_the_uncertain_band(logits_and_labels):
    fitted = calibrate(*logits_and_labels)
    low, high = fitted.uncertain
    assert 0 < low < fitted.threshold < high < 1
