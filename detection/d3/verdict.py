"""From a score to a verdict: the label, and whether it is certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

Doubt = Literal["", "too_small", "no_content"]

MAX_FLAT_RANGE = 2  # of 255 levels: brightest less darkest sample of a picture without content


@dataclass(frozen=True, slots=True)
class Verdict:
    """The detector's verdict on one image.

    ``fake_score`` is the calibrated probability of FAKE, ``confidence`` that of the label. A person
    should review ``uncertain`` verdicts, unless ``doubt`` says that the image cannot be judged.
    """

    label: Literal["REAL", "FAKE"]
    fake_score: float
    confidence: float
    threshold: float
    uncertain: bool
    doubt: Doubt = ""


def verdict_of(
    score: float, *, threshold: float, uncertain: tuple[float, float], doubt: Doubt = ""
) -> Verdict:
    """Return the verdict for a fake ``score``.

    It is uncertain if the score lies in the checkpoint's band ``uncertain``, or with any ``doubt``.
    Raises ValueError for a ``threshold`` outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, not at {threshold}.")
    fake = score > threshold
    low, high = uncertain_band(uncertain, threshold)
    return Verdict(
        label="FAKE" if fake else "REAL",
        fake_score=score,
        confidence=score if fake else 1 - score,
        threshold=threshold,
        uncertain=bool(doubt) or low <= score <= high,
        doubt=doubt,
    )


def uncertain_band(uncertain: tuple[float, float], threshold: float) -> tuple[float, float]:
    """Return the scores between which no verdict is certain, both included.

    ``uncertain`` is the checkpoint's band, in which the evidence is weak. A threshold of the caller
    outside the band does not move the band. It widens the band up to the threshold, so that no
    label against the evidence is certain.
    """
    low, high = uncertain
    return min(low, threshold), max(high, threshold)


def doubt_of(image: Image.Image, *, min_side: int) -> Doubt:
    """Return why no verdict on an RGB image is certain, whatever its score.

    An image is ``too_small`` if a side has fewer than ``min_side`` pixels. It has ``no_content`` if
    all its pixels have one colour, as those of a fully transparent image have on white.
    """
    if min(image.size) < min_side:
        return "too_small"
    extrema = image.getextrema()
    return "no_content" if all(high - low <= MAX_FLAT_RANGE for low, high in extrema) else ""
