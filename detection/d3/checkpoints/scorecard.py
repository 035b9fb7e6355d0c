"""The meaning of a checkpoint's scores, as measured on a test split.

A checkpoint stores it as ``metrics["test"]``. The module needs neither PyTorch nor NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

SCORECARD_KEY = "test"  # among a checkpoint's metrics


class ScoreBin(NamedTuple):
    """The numbers of real and of fake pictures with a fake score above ``low``, up to ``high``."""

    low: float
    high: float
    real: int
    fake: int


@dataclass(frozen=True, slots=True)
class Scorecard:
    """A measurement on ``pictures`` of the ``split`` of ``dataset``.

    ``auc``, ``false_alarms`` (share of the real pictures called fake) and ``found`` (share of the
    fakes) are values with the bounds of their 95 % interval. ``bins`` cover the fake scores from 0
    to 1 without gaps, lowest first, and hold pictures of both classes.
    """

    dataset: str
    split: str
    pictures: int
    auc: tuple[float, float, float]
    false_alarms: tuple[float, float, float]
    found: tuple[float, float, float]
    bins: tuple[ScoreBin, ...]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scorecard:
        """Read the result of ``dataclasses.asdict``, which may have been stored as JSON.

        Raises ValueError, TypeError or LookupError for anything else.
        """
        shares = {name: _share(values[name]) for name in ("auc", "false_alarms", "found")}
        bins = tuple(ScoreBin(*each) for each in values["bins"])
        scorecard = cls(**values | shares | {"bins": bins})
        if not scorecard._is_valid():
            raise ValueError("The bins must cover all scores, with pictures of both classes.")
        return scorecard

    def meaning(self, score: float) -> str:
        """Return a sentence: how many test pictures with a fake ``score`` like this were fake.

        The two classes are weighted equally. One picture of each class is added to each bin, so
        that a bin without mistakes in the test promises no certainty.
        """
        own = next(each for each in self.bins if score <= each.high)
        real = (own.real + 1) / sum(each.real for each in self.bins)
        fake = (own.fake + 1) / sum(each.fake for each in self.bins)
        generated = min(max(round(100 * fake / (real + fake)), 1), 99)
        return (
            "In a test with as many photographs as generated pictures, "
            f"about {generated} of 100 with a score like this were generated."
        )

    def _is_valid(self) -> bool:
        lows, highs, real, fake = zip(*self.bins, strict=True)
        counts = (*real, *fake, self.pictures)
        return (
            (lows[0], highs[-1]) == (0, 1)
            and lows[1:] == highs[:-1]
            and list(highs) == sorted(set(highs))
            and all(isinstance(count, int) and count >= 0 for count in counts)
            and min(sum(real), sum(fake)) > 0
        )


def _share(values: list[float]) -> tuple[float, float, float]:
    value, low, high = map(float, values)
    if not 0 <= low <= high <= 1 or not 0 <= value <= 1:
        raise ValueError("Shares and their bounds lie between 0 and 1.")
    return value, low, high
