from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest

from detection.d3.training.calibration import calibrate

pytestmark = pytest.mark.stateless


@pytest.fixture
def logits_and_labels():
    """Labels drawn with the probabilities of the logits, which are then multiplied by three."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    labels = (random.random(20_000) < expit(logits)).astype(int)
    return 3 * logits, labels


def test_the_temperature_undoes_overconfidence(logits_and_labels):
    assert calibrate(*logits_and_labels).temperature == pytest.approx(3, rel=0.05)


def test_the_offset_undoes_a_leaning_to_one_side(logits_and_labels):
    logits, labels = logits_and_labels
    assert calibrate(logits + 1.5, labels).offset == pytest.approx(-1.5, abs=0.15)


def test_more_pictures_of_one_class_make_no_offset(logits_and_labels):
    logits, labels = logits_and_labels
    few = np.flatnonzero(labels == 1)[: labels.sum() // 5]
    chosen = np.concatenate([np.flatnonzero(labels == 0), few])
    assert calibrate(logits[chosen], labels[chosen]).offset == pytest.approx(0, abs=0.2)


@pytest.fixture
def hard_to_tell():
    """Scores of real pictures reach far above one half."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 5000)
    return random.normal(labels, 2), labels


def test_three_in_a_hundred_real_pictures_exceed_the_threshold(hard_to_tell):
    logits, labels = hard_to_tell
    fitted = calibrate(logits, labels)
    scores = expit((logits[labels == 0] + fitted.offset) / fitted.temperature)
    assert np.mean(scores > fitted.threshold) == pytest.approx(0.03, abs=0.001)


@pytest.mark.parametrize("pictures", [100, 300, 493])
def test_the_interval_of_the_false_alarms_ends_at_its_limit(pictures):
    scores = np.linspace(-3, 3, pictures)
    logits, labels = np.tile(scores, 2), np.repeat([0, 1], pictures)
    fitted = calibrate(logits, labels)
    alarms = int((expit((scores + fitted.offset) / fitted.temperature) > fitted.threshold).sum())

    def bound(alarms: int) -> float:
        return binomtest(alarms, pictures).proportion_ci(0.95, "wilson").high

    assert bound(alarms) <= 0.05
    assert alarms <= 0.03 * pictures
    assert bound(alarms + 1) > 0.05 or alarms + 1 > 0.03 * pictures


def test_with_too_few_real_pictures_for_that_limit_three_in_a_hundred_exceed_the_threshold():
    scores = np.linspace(-3, 3, 70)  # even without any false alarm the interval ends above 5 %
    fitted = calibrate(np.tile(scores, 2), np.repeat([0, 1], 70))
    assert (expit((scores + fitted.offset) / fitted.temperature) > fitted.threshold).sum() == 2


def test_outside_the_uncertain_band_nine_in_ten_verdicts_are_right_and_no_smaller_one_does(
    hard_to_tell,
):
    logits, labels = hard_to_tell
    fitted = calibrate(logits, labels)
    scores, (low, high) = expit((logits + fitted.offset) / fitted.temperature), fitted.uncertain
    real, fake = scores[labels == 0], scores[labels == 1]

    def right_below(end: float) -> float:
        return np.mean(real < end) / (np.mean(real < end) + np.mean(fake < end))

    def right_above(end: float) -> float:
        return np.mean(fake > end) / (np.mean(fake > end) + np.mean(real > end))

    assert 0 < low < fitted.threshold < high < 1
    assert right_below(low) >= 0.9
    assert right_above(high) >= 0.9
    assert all(right_below(end) < 0.9 for end in scores if low < end <= fitted.threshold)
    assert all(right_above(end) < 0.9 for end in scores if fitted.threshold <= end < high)


def test_the_uncertain_band_is_the_same_however_many_of_the_pictures_are_fakes(hard_to_tell):
    logits, labels = hard_to_tell
    more = np.concatenate([logits, *[logits[labels == 1]] * 3]), np.append(labels, [1] * 15_000)
    ends = [
        logit(fitted.uncertain) * fitted.temperature
        for fitted in (calibrate(logits, labels), calibrate(*more))
    ]
    assert ends[0] == pytest.approx(ends[1])


def test_scores_that_say_nothing_leave_every_verdict_uncertain():
    logits, labels = np.tile(np.linspace(-1, 1, 100), 2), np.repeat([0, 1], 100)
    assert calibrate(logits, labels).uncertain == (0, 1)


def test_a_split_without_mistakes_leaves_the_usual_threshold():
    labels = np.repeat([0, 1], 50)
    fitted = calibrate(np.where(labels == 1, 6.0, -6.0), labels)
    assert fitted.threshold == 0.5
    assert fitted.uncertain == (0.5, 0.5)
    assert fitted.temperature >= 0.5
