"""A prediction as people are told of it: in words, and as a place on a scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detection.judging import detector_info, meaning_of, percentage
from detection.models import Label, Prediction

if TYPE_CHECKING:
    from detection.d3 import DetectorInfo

UNCERTAIN = "UNCERTAIN"

WORDS = {
    Label.FAKE: "Probably made by a generator",
    Label.REAL: "Probably a real photograph",
    UNCERTAIN: "Cannot tell — a person should look",
}
REVIEWED_WORDS = {
    Label.FAKE: "Made by a generator, says a reviewer",
    Label.REAL: "A real photograph, says a reviewer",
}
MEANINGS = {
    Label.FAKE: "The model found in the pixels what it knows generated pictures by. That is a hint "
    "and no proof: photographs that were enlarged or heavily edited can look the same to it.",
    Label.REAL: "The model found hardly anything that it knows generated pictures by. That is no "
    "proof that the photograph is real: traces fade when an image is resized or strongly "
    "compressed, generators that it never saw may leave others, and other forgeries leave none.",
    UNCERTAIN: "The score lies where this model is often wrong, so it should decide nothing. Have "
    "a person look at the image, where it comes from and what else is known of it.",
}
REVIEWED_MEANINGS = {
    Prediction.Review.CONFIRMED: "A person looked at this image and agrees with the model. The "
    "score is still the model's alone, which knows nothing but the pixels.",
    Prediction.Review.OVERTURNED: "A person looked at this image and decided against the model. "
    "The reviewer's label holds, and the model's score stays here for the record.",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """The fake score from 0 to 1, the threshold, and the zone in which it says little.

    ``zone`` is None where it is not known: it belongs to the model that judged.
    """

    score: float
    threshold: float
    zone: tuple[float, float] | None

    @property
    def caption(self) -> str:
        if self.zone is None:
            return f"Above {percentage(self.threshold)} it is called FAKE."
        low, high = map(percentage, self.zone)
        return (
            f"Above {percentage(self.threshold)} it is called FAKE; "
            f"between {low} and {high} it is uncertain."
        )

    @property
    def in_words(self) -> str:
        """What the picture of the scale shows, for those who do not see it."""
        return f"Fake score {percentage(self.score)}. {self.caption}"

    @property
    def places(self) -> dict[str, str]:
        """Lengths along the scale, as SVG writes them."""
        low, high = self.zone or (0, 0)
        lengths = {
            "score": self.score,
            "threshold": self.threshold,
            "above": 1 - self.threshold,
            "low": low,
            "width": high - low,
        }
        return {name: f"{100 * length:.2f}%" for name, length in lengths.items()}


@dataclass(frozen=True, slots=True)
class Card:
    """``measured`` is what such a score meant in a test of the model, where that is known."""

    prediction: Prediction
    scale: Scale
    measured: str | None

    @property
    def verdict(self) -> str:
        """FAKE, REAL or UNCERTAIN: the reviewer's label where there is one, else the model's."""
        if self.prediction.uncertain and not self.is_reviewed:
            return UNCERTAIN
        return self.prediction.label_in_force

    @property
    def is_reviewed(self) -> bool:
        return self.prediction.review_status != Prediction.Review.UNREVIEWED

    @property
    def is_overturned(self) -> bool:
        return self.prediction.review_status == Prediction.Review.OVERTURNED

    @property
    def words(self) -> str:
        return (REVIEWED_WORDS if self.is_reviewed else WORDS)[self.verdict]

    @property
    def meaning(self) -> str:
        return REVIEWED_MEANINGS.get(self.prediction.review_status) or MEANINGS[self.verdict]

    @property
    def percentage(self) -> str:
        return percentage(self.prediction.fake_score)


def card_of(prediction: Prediction) -> Card:
    [card] = cards_of([prediction])
    return card


def cards_of(predictions: Iterable[Prediction]) -> list[Card]:
    model = detector_info()
    return [
        Card(prediction, _scale(prediction, model), meaning_of(prediction, model))
        for prediction in predictions
    ]


def _scale(prediction: Prediction, model: DetectorInfo | None) -> Scale:
    """A threshold of the caller's own widens the band up to itself; one of no width is none.

    The band is that of the ``model`` that judges now, if it judged this prediction.
    """
    threshold = prediction.threshold
    band = model.uncertain if model and model.version == prediction.model_version else None
    low, high = (min(band[0], threshold), max(band[1], threshold)) if band else (0, 0)
    zone = (low, high) if low < high else None
    return Scale(score=prediction.fake_score, threshold=threshold, zone=zone)
