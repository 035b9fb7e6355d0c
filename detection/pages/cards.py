"""Predictions as people read them: in words, and on a scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.contrib.auth.models import AbstractUser, AnonymousUser

from detection import d3
from detection.judging import detector_info, frames_in_words, meaning_of, percentage
from detection.models import Label, Prediction
from detection.records import nearest_reviewed

UNCERTAIN = "UNCERTAIN"

WORDS = {
    Label.FAKE: "Probably made by a generator",
    Label.REAL: "Probably a real photograph",
    UNCERTAIN: "Not certain: a person should check",
}
REASONS = {
    Prediction.Reason.TOO_SMALL: (
        "Not certain: the image is too small",
        "An image this small holds too little of what the model looks for, so the score should "
        "decide nothing. Look for a larger copy of it.",
    ),
    Prediction.Reason.NO_CONTENT: (
        "Not certain: there is nothing in the image",
        "The image is of one colour, or transparent. There is nothing in it to judge.",
    ),
}
REVIEWED_WORDS = {
    Label.FAKE: "Made by a generator, says a reviewer",
    Label.REAL: "A real photograph, says a reviewer",
}
MEANINGS = {
    Label.FAKE: "The model found traces of a generator in the pixels. This is a hint, not a proof: "
    "enlarged or heavily edited photographs can look the same to the model.",
    Label.REAL: "The model found hardly any traces of a generator in the pixels. This does not "
    "prove that the photograph is real: traces fade when an image is resized or strongly "
    "compressed, unknown generators may leave other traces, and other forgeries leave none.",
    UNCERTAIN: "The model is often wrong at scores like this, so the score should decide nothing. "
    "A person should check the image, its source and what else is known about it.",
}
REVIEWED_MEANINGS = {
    Prediction.Review.CONFIRMED: "A reviewer checked this image and agrees with the model. The "
    "score is the model's alone, and the model sees nothing but the pixels.",
    Prediction.Review.OVERTURNED: "A reviewer checked this image and decided against the model. "
    "The reviewer's label is in force. The model's score stays here for the record.",
}
DISPUTE = (
    "The file and the detector disagree. What a file says can be forged or copied from another "
    "picture, and the detector can be wrong: a person should check."
)
REVIEWED_DISPUTE = "The label of the reviewer disagrees with what the file says."


@dataclass(frozen=True, slots=True)
class Scale:
    """The fake score from 0 to 1, the threshold, and the zone of uncertain scores.

    ``zone`` is None if it is unknown: it belongs to the model that judged.
    """

    score: float
    threshold: float
    zone: tuple[float, float] | None

    @property
    def caption(self) -> str:
        above = f"Scores above {_on_one_line(self.threshold)} are labelled FAKE"
        if self.zone is None:
            return f"{above}."
        low, high = map(_on_one_line, self.zone)
        return f"{above}; scores between {low} and {high} are uncertain."

    @property
    def in_words(self) -> str:
        """Describe the scale, for screen readers."""
        return f"Fake score {percentage(self.score)}. {self.caption}"

    @property
    def places(self) -> dict[str, str]:
        """Return lengths along the scale as SVG percentages."""
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
    """A prediction as a page shows it. ``measured`` says what such a score meant in a test of the
    model, if that is known; ``reviewed_before`` is a reviewed prediction on a similar picture.
    """

    prediction: Prediction
    scale: Scale
    measured: str | None
    reviewed_before: Prediction | None = None

    @property
    def verdict(self) -> str:
        """FAKE, REAL or UNCERTAIN: the reviewer's label, else the model's."""
        if self.prediction.uncertain and not self.prediction.is_reviewed:
            return UNCERTAIN
        return self.prediction.label_in_force

    @property
    def words(self) -> str:
        if self.prediction.is_reviewed:
            return REVIEWED_WORDS[self.verdict]
        words, _ = REASONS.get(self.prediction.reason, (WORDS[self.verdict], ""))
        return words

    @property
    def meaning(self) -> str:
        if self.prediction.is_reviewed:
            return REVIEWED_MEANINGS[self.prediction.review_status]
        _, meaning = REASONS.get(self.prediction.reason, ("", MEANINGS[self.verdict]))
        return meaning

    @property
    def frames(self) -> str:
        return frames_in_words(self.prediction)

    @property
    def dispute(self) -> str:
        """Return a sentence if the label in force and the file disagree, else an empty one."""
        if not self.prediction.is_contradicted:
            return ""
        return REVIEWED_DISPUTE if self.prediction.is_reviewed else DISPUTE


def card_of(prediction: Prediction, user: AbstractUser | AnonymousUser) -> Card:
    """Return the card of one prediction, with what ``user`` may see of similar pictures."""
    [card] = cards_of([prediction])
    before = nearest_reviewed(prediction, user=user)
    return replace(card, reviewed_before=before.prediction if before else None)


def cards_of(predictions: Iterable[Prediction]) -> list[Card]:
    model = detector_info()
    return [
        Card(prediction, _scale(prediction, model), meaning_of(prediction, model))
        for prediction in predictions
    ]


def _scale(prediction: Prediction, model: d3.DetectorInfo | None) -> Scale:
    """Return the scale with the uncertain band of ``model``, if this model judged the prediction.
    A threshold that the caller set widens the band up to itself.
    """
    threshold = prediction.threshold
    band = model.uncertain if model and model.version == prediction.model_version else None
    low, high = (min(band[0], threshold), max(band[1], threshold)) if band else (0, 0)
    zone = (low, high) if low < high else None
    return Scale(score=prediction.fake_score, threshold=threshold, zone=zone)


def _on_one_line(score: float) -> str:
    return percentage(score).replace(" ", "\N{NO-BREAK SPACE}")
