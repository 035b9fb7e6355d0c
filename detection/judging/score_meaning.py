"""What the score of a prediction meant in a test of the model that gave it."""

from __future__ import annotations

from detection import d3
from detection.models import Prediction


def meaning_of(prediction: Prediction, model: d3.DetectorInfo | None) -> str | None:
    """Return a sentence, or None where ``model`` did not judge the prediction or has no scorecard.

    ``model`` is the present model, see ``detector_info``.
    """
    if model is None or model.scorecard is None or prediction.model_version != model.version:
        return None
    return model.scorecard.meaning(prediction.fake_score)
