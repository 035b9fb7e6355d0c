"""How good the model is, as measured by the reviewers: their label is the truth, FAKE is positive.

The images that are reviewed are no random sample: the queue begins with the least certain ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from detection.models import Label, Prediction

Z = 1.959964  # standard deviations on both sides of the mean hold 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class Rate:
    """``hits`` among ``total``, with Wilson's 95 % interval: it holds for few and for extremes.

    Value and bounds are 0..1, and None without a single case.
    """

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None

    @property
    def low(self) -> float | None:
        return max(0.0, self._middle - self._half_width) if self.total else None

    @property
    def high(self) -> float | None:
        return min(1.0, self._middle + self._half_width) if self.total else None

    @property
    def _middle(self) -> float:
        return (self.hits + Z**2 / 2) / (self.total + Z**2)

    @property
    def _half_width(self) -> float:
        hits, misses = self.hits, self.total - self.hits
        return Z / (self.total + Z**2) * math.sqrt(hits * misses / self.total + Z**2 / 4)


@dataclass(slots=True)
class Confusion:
    """Reviewed predictions, by the model's label and the reviewer's."""

    true_fake: int = 0
    false_fake: int = 0
    true_real: int = 0
    false_real: int = 0

    def add(self, *, label: str, review_status: str, count: int) -> None:
        """Counts predictions of one ``label``; those that nobody has reviewed say nothing."""
        if review_status == Prediction.Review.UNREVIEWED:
            return
        right = "true" if review_status == Prediction.Review.CONFIRMED else "false"
        name = f"{right}_{'fake' if label == Label.FAKE else 'real'}"
        setattr(self, name, getattr(self, name) + count)

    @property
    def total(self) -> int:
        return self.true_fake + self.false_fake + self.true_real + self.false_real

    @property
    def fakes(self) -> int:
        """Fake as the reviewers say."""
        return self.true_fake + self.false_real

    @property
    def reals(self) -> int:
        """Real as the reviewers say."""
        return self.true_real + self.false_fake

    @property
    def agreement(self) -> Rate:
        """How often the reviewer confirmed the model's label."""
        return Rate(self.true_fake + self.true_real, self.total)

    @property
    def precision(self) -> Rate:
        """How much of what the model called FAKE is."""
        return Rate(self.true_fake, self.true_fake + self.false_fake)

    @property
    def recall(self) -> Rate:
        """How much of what is fake the model called FAKE."""
        return Rate(self.true_fake, self.fakes)
