"""Temperature, threshold and uncertain band from the logits of a validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

FALSE_ALARMS = 0.03  # share of real validation pictures that may exceed the threshold
UNCERTAIN_FALSE_ALARMS = (0.10, 0.01)  # shares that exceed the band's lower and upper end
LOWEST_THRESHOLD = 0.5  # so that FAKE is never said of a score that speaks for REAL
LOWEST_BAND = (1 / 3, 2 / 3)
TEMPERATURES = (0.5, 20.0)  # a validation split without any mistake would ask for zero


@dataclass(frozen=True, slots=True)
class Calibration:
    """fake_score = sigmoid(logit / temperature); all else in units of fake_score."""

    temperature: float
    threshold: float
    uncertain: tuple[float, float]


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit on logits (N,) and labels (N,) of 0 real and 1 fake; both classes must be there.

    The temperature minimises the negative log likelihood (Guo et al., "On Calibration of Modern
    Neural Networks", ICML 2017). The threshold is the score that 3 % of the real pictures exceed,
    or 0.5 where fewer exceed that. Between the scores that 10 % and 1 % of them exceed, but not
    below 1/3 and 2/3, a verdict is called uncertain.
    """
    temperature = _fit_temperature(logits.astype(np.float64), labels)
    real = expit(logits[labels == 0].astype(np.float64) / temperature)
    threshold, low, high = (
        float(np.quantile(real, 1 - share)) for share in (FALSE_ALARMS, *UNCERTAIN_FALSE_ALARMS)
    )
    return Calibration(
        temperature=temperature,
        threshold=max(threshold, LOWEST_THRESHOLD),
        uncertain=(max(low, LOWEST_BAND[0]), max(high, LOWEST_BAND[1])),
    )


def _fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    signs = np.where(labels == 1, 1.0, -1.0)

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signs * logits / np.exp(log_temperature)).mean())

    bounds = tuple(np.log(TEMPERATURES))
    return float(np.exp(minimize_scalar(negative_log_likelihood, bounds=bounds).x))
