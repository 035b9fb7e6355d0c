"""Calibrate temperature, threshold and uncertain band on the logits of a validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binomtest

FALSE_ALARMS = 0.03  # share of real validation pictures that may exceed the threshold
MAX_FALSE_ALARMS = 0.05  # upper bound of that share's 95 % interval (Wilson)
LOWEST_THRESHOLD = 0.5  # lower scores are evidence for REAL
CERTAIN = 0.9  # share of right verdicts on each side of the uncertain band
TEMPERATURES = (0.5, 20.0)  # without a bound it would be zero on a split without mistakes


@dataclass(frozen=True, slots=True)
class Calibration:
    """fake_score = sigmoid((logit + offset) / temperature); the other fields are fake scores."""

    temperature: float
    offset: float
    threshold: float
    uncertain: tuple[float, float]


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit to logits (N,) and labels (N,), 0 real and 1 fake, of both classes.

    Temperature and offset minimise the negative log likelihood, with equal weights of the classes
    (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).

    The threshold is the lowest score from 0.5 on that at most 3 % of the real pictures exceed; the
    95 % interval of that share must end at 5 % at most. With fewer than 73 real pictures no share
    has such an interval, so only the first condition applies.

    The uncertain band is the smallest around the threshold outside which 90 % of the verdicts on
    each side are right, with equal weights of the classes.
    """
    logits = logits.astype(np.float64)
    temperature, offset = _fit_scale(logits, labels)
    scores = expit((logits + offset) / temperature)
    real, fake = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    threshold = max(float(real[-1 - _alarms(len(real))]), LOWEST_THRESHOLD)
    return Calibration(temperature, offset, threshold, _uncertain_band(real, fake, threshold))


def _alarms(real: int) -> int:
    """Return how many of the ``real`` pictures may exceed the threshold."""
    most = int(FALSE_ALARMS * real)
    bounds = [binomtest(k, real).proportion_ci(0.95, "wilson").high for k in range(most + 1)]
    return max((k for k, bound in enumerate(bounds) if bound <= MAX_FALSE_ALARMS), default=most)


def _uncertain_band(real: np.ndarray, fake: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return the band's ends, by the sorted scores; 0 or 1 for a side without certain verdicts."""
    ends = np.union1d(np.concatenate([real, fake]), threshold)
    real_below, fake_below = (np.searchsorted(own, ends) / len(own) for own in (real, fake))
    real_above, fake_above = (
        1 - np.searchsorted(own, ends, side="right") / len(own) for own in (real, fake)
    )
    low = ends[(ends <= threshold) & _are_right(real_below, fake_below)]
    high = ends[(ends >= threshold) & _are_right(fake_above, real_above)]
    return float(low.max(initial=0.0)), float(high.min(initial=1.0))


def _are_right(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return for each end whether there are verdicts beyond it, and enough of them are right."""
    return (right + wrong > 0) & (right >= CERTAIN * (right + wrong))


def _fit_scale(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the temperature and the offset that fit the labels best."""
    signs = np.where(labels == 1, 1.0, -1.0)
    weights = np.where(labels == 1, 0.5 / (labels == 1).sum(), 0.5 / (labels == 0).sum())

    def negative_log_likelihood(fitted: np.ndarray) -> float:
        log_temperature, offset = fitted
        scaled = (logits + offset) / np.exp(log_temperature)
        return float(weights @ np.logaddexp(0, -signs * scaled))

    reach = float(np.abs(logits).max())
    bounds = (tuple(np.log(TEMPERATURES)), (-reach, reach))
    best = minimize(negative_log_likelihood, np.zeros(2), bounds=bounds, method="Nelder-Mead").x
    return float(np.exp(best[0])), float(best[1])
