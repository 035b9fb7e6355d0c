"""Judging again: what an older model said, said by the one in use now. Both verdicts are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from django.db.models import prefetch_related_objects

from detection.errors import database_errors
from detection.judging.detector import get_detector
from detection.judging.predict import Upload, predict_images
from detection.models import Prediction, Source
from detection.records import OriginalLostError, read_original

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A prediction with the new one on the same bytes, or with the sentence that says why there is
    none.
    """

    prediction: Prediction
    verdict: Prediction | None = None
    problem: str = ""


def rejudge(*, predictions: Iterable[Prediction]) -> Iterator[Rejudged]:
    """Judges the originals anew, for the owners that they have. What the model in use now has
    judged already, here or elsewhere in the records, is left out.

    Raises UnavailableError and D3Error; what was given until then is stored.
    """
    with database_errors():
        outdated = _outdated(list(predictions))
        prefetch_related_objects(outdated, "owner")
    outdated.sort(key=lambda prediction: str(prediction.owner_id))
    for _, group in groupby(outdated, key=lambda prediction: prediction.owner_id):
        yield from _rejudge_of(group)


def _outdated(predictions: list[Prediction]) -> list[Prediction]:
    version = get_detector().info.version
    judged = set(
        Prediction.objects.filter(
            sha256__in={prediction.sha256 for prediction in predictions}, model_version=version
        )
        .order_by()
        .values_list("sha256", "owner_id")
    )
    outdated = {(each.sha256, each.owner_id): each for each in predictions}
    return [prediction for bytes_of, prediction in outdated.items() if bytes_of not in judged]


def _rejudge_of(predictions: Iterable[Prediction]) -> Iterator[Rejudged]:
    """Those of one owner, one original after the other: fifty may be a gigabyte together."""
    predictions = list(predictions)
    lost: list[Rejudged] = []
    sent: deque[Prediction] = deque()

    def uploads() -> Iterator[Upload]:
        for prediction in predictions:
            try:
                data = read_original(prediction)
            except OriginalLostError as error:
                lost.append(Rejudged(prediction, problem=str(error)))
                continue
            sent.append(prediction)
            yield Upload(prediction.original_filename, data)

    owner: AbstractUser | None = predictions[0].owner
    with closing(predict_images(uploads=uploads(), source=Source.RERUN, owner=owner)) as outcomes:
        for outcome in outcomes:
            problem = str(outcome.error) if outcome.error else ""
            yield Rejudged(sent.popleft(), verdict=outcome.prediction, problem=problem)
    yield from lost
