"""Find predictions on the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AbstractUser

from detection.models import Prediction
from detection.records.visibility import visible_predictions

MAX_SAME = 10  # other predictions on the same bytes that are shown
MAX_AT_ONCE = 100  # earlier records that are read to find the scores of some images
_BEST_FRAME = ("frame", "judged_frames", "width", "height", "reason")  # the fields of BestFrame


@dataclass(frozen=True, slots=True)
class BestFrame:
    """The frame with the highest score of all ``judged`` frames: its number from 1, its size in
    pixels, and why no verdict on it is certain (empty: nothing is wrong with it).
    """

    number: int
    judged: int
    width: int
    height: int
    doubt: str


@dataclass(frozen=True, slots=True)
class ImageScore:
    """A fake score, and the id of the earlier prediction that it is from (empty: the score is new).
    If all frames were judged, the ``best`` of them has this score.
    """

    fake_score: float
    prediction_id: str = ""
    best: BestFrame | None = None


def find_scores(
    *,
    sha256s: Iterable[str],
    model_version: str,
    user: AbstractUser | None,
    all_frames: bool = False,
) -> dict[str, ImageScore]:
    """Return the known scores, by sha256: those that this version of the model gave to
    ``all_frames`` of an image, or to its first frame alone, in predictions that ``user`` may see.
    """
    same_frames = {"judged_frames__gt": 1} if all_frames else {"judged_frames": 1}
    unknown = set(sha256s)
    found: dict[str, ImageScore] = {}
    while unknown:
        earlier = visible_predictions(user).filter(sha256__in=unknown, model_version=model_version)
        fields = ("pk", "sha256", "fake_score", *_BEST_FRAME)
        records = list(earlier.filter(**same_frames).order_by().values_list(*fields)[:MAX_AT_ONCE])
        for pk, sha256, fake_score, *frame in sorted(records):
            best = BestFrame(*frame) if all_frames else None
            found.setdefault(sha256, ImageScore(fake_score, pk, best))
        # Records of one image, which was sent often, may fill the limit: read those of the others.
        unknown = unknown - found.keys() if len(records) == MAX_AT_ONCE else set()
    return found


def same_bytes(prediction: Prediction) -> list[Prediction]:
    """Return other predictions on the same bytes, newest first."""
    others = Prediction.objects.filter(sha256=prediction.sha256).exclude(pk=prediction.pk)
    return list(others.order_by("-pk")[:MAX_SAME])
