"""Measure how good the model is by the decisions of reviewers: their label is true, FAKE is
positive.

Reviewed images are no random sample: the queue begins with the least certain ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from detection.models import Label, Prediction
from detection.records import sent_between


@dataclass(frozen=True, slots=True)
class Rate:
    """``hits`` among ``total``, with Wilson's 95 % interval, which also holds for few cases.

    Value and bounds are 0..1, and None without a case.
    """

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the bounds, which have the names ``low`` and ``high``."""
        from scipy.stats import binomtest  # its import takes long, and one page needs it

        if not self.total:
            return None
        return binomtest(self.hits, self.total).proportion_ci(method="wilson")


def robustness(*, start: datetime, end: datetime, model_version: str = "") -> Rate:
    """Return how often a version of the model, or any version, gave a changed copy of a picture the
    same label as the picture. Raises what the database raises.
    """
    judged = sent_between(Prediction.objects.order_by(), start=start, end=end)
    if model_version:
        judged = judged.filter(model_version=model_version)
    agreements = Prediction.Agreement
    agreed, contradicted = (judged.filter(agreement=each).count() for each in agreements)
    return Rate(agreed, agreed + contradicted)


@dataclass(slots=True)
class Confusion:
    """Reviewed predictions, by the model's label and the reviewer's."""

    true_fake: int = 0
    false_fake: int = 0
    true_real: int = 0
    false_real: int = 0

    def add(self, *, label: str, review_status: str, count: int) -> None:
        """Count predictions of one ``label``; unreviewed ones are left out."""
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
        """Return how many the reviewers call fake."""
        return self.true_fake + self.false_real

    @property
    def reals(self) -> int:
        """Return how many the reviewers call real."""
        return self.true_real + self.false_fake

    @property
    def agreement(self) -> Rate:
        """Return how often a reviewer confirmed the model's label."""
        return Rate(self.true_fake + self.true_real, self.total)

    @property
    def precision(self) -> Rate:
        """Return how many of those that the model called FAKE are fake."""
        return Rate(self.true_fake, self.true_fake + self.false_fake)

    @property
    def recall(self) -> Rate:
        """Return how many of the fakes the model called FAKE."""
        return Rate(self.true_fake, self.fakes)

    @property
    def rates(self) -> tuple[Rate, Rate, Rate]:
        return self.agreement, self.precision, self.recall
