"""Judge images again that an older model judged. Both verdicts stay in the records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from django.contrib.auth.models import AbstractUser
from django.db.models import prefetch_related_objects

from detection.errors import database_errors
from detection.judging.active_detector import get_detector
from detection.judging.pipeline import Upload
from detection.judging.predict import predict_images
from detection.models import Prediction, Source
from detection.records import OriginalLostError, read_original


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A prediction, and the new prediction on the same bytes or a sentence why there is none."""

    prediction: Prediction
    verdict: Prediction | None = None
    problem: str = ""


def rejudge(*, predictions: Iterable[Prediction]) -> Iterator[Rejudged]:
    """Judge the originals again, for their owners. Leave out images that the present model has
    judged already, whether for these records or for others.

    Raises UnavailableError and D3Error; verdicts that were yielded before are stored.
    """
    with database_errors():
        outdated = _outdated(list(predictions))
        prefetch_related_objects(outdated, "owner")
    outdated.sort(key=_caller)
    for _, group in groupby(outdated, key=_caller):
        yield from _rejudge_group(group)


def _outdated(predictions: list[Prediction]) -> list[Prediction]:
    version = get_detector().info.version
    present = (
        Prediction.objects.filter(
            sha256__in={prediction.sha256 for prediction in predictions}, model_version=version
        )
        .order_by()
        .only("sha256", "owner_id", "judged_frames")
    )
    judged = {_question(each) for each in present}
    outdated = {_question(each): each for each in predictions}
    return [prediction for question, prediction in outdated.items() if question not in judged]


def _question(prediction: Prediction) -> tuple[str, str, bool]:
    """Return what was judged, for which owner, and whether by more than one frame."""
    return prediction.sha256, *_caller(prediction)


def _caller(prediction: Prediction) -> tuple[str, bool]:
    return str(prediction.owner_id), prediction.judged_frames > 1


def _rejudge_group(predictions: Iterable[Prediction]) -> Iterator[Rejudged]:
    """Judge images of one owner, all by one frame or all by all frames. Originals are read one by
    one: fifty may be a gigabyte.
    """
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
            yield Upload(prediction.original_filename, data, source_url=prediction.source_url)

    owner: AbstractUser | None = predictions[0].owner
    all_frames = predictions[0].judged_frames > 1
    new = predict_images(uploads=uploads(), source=Source.RERUN, owner=owner, all_frames=all_frames)
    with closing(new) as outcomes:
        for outcome in outcomes:
            problem = str(outcome.error) if outcome.error else ""
            yield Rejudged(sent.popleft(), verdict=outcome.prediction, problem=problem)
    yield from lost
