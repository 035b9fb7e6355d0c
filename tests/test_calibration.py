from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from detection.d3.calibration import calibrate

pytestmark = pytest.mark.stateless


@pytest.fixture
def logits_and_labels():
    """Labels drawn with the probability that the logits state, then overconfident by three."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    labels = (random.random(20_000) < expit(logits)).astype(int)
    return 3 * logits, labels


def test_the_temperature_undoes_overconfidence(logits_and_labels):
    assert calibrate(*logits_and_labels).temperature == pytest.approx(3, rel=0.05)


@pytest.fixture
def hard_to_tell():
    """Scores of real pictures reach far above one half."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 5000)
    return random.normal(labels, 2), labels


def test_three_in_a_hundred_real_pictures_exceed_the_threshold(hard_to_tell):
    logits, labels = hard_to_tell
    fitted = calibrate(logits, labels)
    scores = expit(logits[labels == 0] / fitted.temperature)
    assert np.mean(scores > fitted.threshold) == pytest.approx(0.03, abs=0.001)


def test_the_threshold_lies_in_the_uncertain_band(hard_to_tell):
    fitted = calibrate(*hard_to_tell)
    low, high = fitted.uncertain
    assert 0.5 < low < fitted.threshold < high < 1


def test_a_split_without_mistakes_leaves_the_usual_threshold():
    labels = np.repeat([0, 1], 50)
    fitted = calibrate(np.where(labels == 1, 6.0, -6.0), labels)
    assert fitted.threshold == 0.5
    assert fitted.uncertain == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert fitted.temperature >= 0.5
