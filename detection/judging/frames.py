"""Judge all frames of an image: the highest score counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from detection.d3.images import decode_frames, spread_frames
from detection.judging.limits import animating, decoding, image_limits
from detection.judging.scoring import ask_for_scores
from detection.models import Prediction
from detection.records import BestFrame, ImageScore

if TYPE_CHECKING:
    from detection.d3 import Detector, Doubt
    from detection.judging.pipeline import Job


AHEAD = 8  # frames that are decoded while the model has not judged the ones before


class _Frame(NamedTuple):
    number: int
    size: tuple[int, int]
    doubt: Doubt


@dataclass(frozen=True, slots=True)
class PendingScores:
    """Futures of the scores of one image: of its first frame, or of all ``frames`` to judge."""

    scores: Sequence[Future[float]]
    frames: Sequence[_Frame] = ()

    def highest(self, scores: Sequence[float]) -> ImageScore:
        """Return the highest of the scores, which are the results of the futures. A frame on which
        no verdict is certain (blank, too small) counts only if there is no other.
        """
        if not self.frames:
            return ImageScore(scores[0])
        pairs = zip(scores, self.frames, strict=True)
        score, frame = max(pairs, key=lambda pair: (not pair[1].doubt, pair[0]))
        best = BestFrame(frame.number, len(scores), *frame.size, frame.doubt)
        return ImageScore(score, best=best)

    def cancel(self) -> None:
        for score in self.scores:
            score.cancel()


def ask_for_frames(detector: Detector, job: Job) -> PendingScores:
    """Ask for the scores of evenly spread frames of a decoded image.

    Only one frame is in memory, beside ``AHEAD`` that the model has not judged yet. Raises
    ImageError for a frame that cannot be decoded, and what ``ask_for_scores`` and its futures do;
    then the scores of the other frames are cancelled.
    """
    scores: list[Future[float]] = []
    frames: list[_Frame] = []
    _, *later = spread_frames(job.image.frames)
    data = job.upload.load()
    try:
        with animating:
            scores += ask_for_scores(detector, [job.views])
            frames.append(_Frame(1, (job.image.width, job.image.height), job.doubt))
            for number, pixels in zip(later, _decoded(data, later), strict=True):
                with decoding:
                    views, doubt = detector.prepare(pixels), detector.doubt(pixels)
                if len(scores) >= AHEAD:
                    scores[-AHEAD].result()  # raises if the caller hung up: decode no more frames
                scores += ask_for_scores(detector, [views])
                frames.append(_Frame(number, pixels.size, doubt))
    except BaseException:
        PendingScores(scores).cancel()
        raise
    return PendingScores(scores, frames)


def frames_in_words(prediction: Prediction) -> str:
    """Say which frame or page was judged; empty where there is only one."""
    if prediction.frames == 1:
        return ""
    noun = "page" if prediction.image_format == "TIFF" else "frame"
    if prediction.judged_frames == 1:
        return f"The first of {prediction.frames} {noun}s was judged."
    place = f"{noun.capitalize()} {prediction.frame} of {prediction.frames}"
    if prediction.judged_frames == prediction.frames:
        return f"{place} had the highest score."
    return f"{place} had the highest score of the {prediction.judged_frames} that were judged."


def _decoded(data: bytes | Path, numbers: Sequence[int]) -> Iterator[Image.Image]:
    frames = decode_frames(data, numbers, image_limits())
    while True:
        with decoding:
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
