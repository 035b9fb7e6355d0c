"""The steps from an image's bytes to its record: decode, judge, draw the result, store the files,
write the record. All sources of images share them. A keeper stores files and records; without a
keeper nothing is stored.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from django.contrib.auth.models import AbstractUser
from PIL import Image

from detection import prometheus
from detection.d3.errors import ImageError
from detection.d3.html import thumbnail
from detection.d3.images import DecodedImage, decode_frame, decode_image
from detection.d3.prefetching import in_groups, run_ahead
from detection.errors import database_errors
from detection.files import clean_filename, result_filename
from detection.judging.batcher import results_of
from detection.judging.drawing import draw_result, fitted
from detection.judging.frames import PendingScores, ask_for_frames
from detection.judging.limits import decoding, image_limits
from detection.judging.provenance import inspect_upload, origin_fields
from detection.judging.scoring import ask_for_scores
from detection.models import Prediction, PredictionBatch, Source, moment_of, new_id, now
from detection.provenance import Provenance
from detection.records import (
    BestFrame,
    ImageScore,
    agreement_of,
    find_scores,
    note_refusal,
    perceptual_hashes,
)

if TYPE_CHECKING:
    from torch import Tensor

    from detection.d3 import Detector, Doubt
    from detection.judging.keepers import Keeper

DEFAULT_BATCH_SIZE = 8
AHEAD = 8  # images that are decoded, or stored, before their turn


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it arrives: its name and its bytes, or the file to read them from.

    ``error`` says why an archive could not be unpacked as far as this image, or why it could not be
    fetched. ``source_url`` is where it was fetched.
    """

    filename: str
    data: bytes | Path
    error: ImageError | None = None
    source_url: str = ""

    def load(self) -> bytes | Path:
        """Return what to decode. Raises ImageError."""
        if self.error:
            raise self.error
        return self.data

    def open(self) -> BinaryIO:
        """Open the bytes. Raises ImageError for a pipe, and for a file that was deleted."""
        if not isinstance(self.data, Path):
            return io.BytesIO(self.data)
        try:
            if self.data.exists() and not self.data.is_file():  # opening a pipe may never end
                raise ImageError(f"{self.filename!r} is not a file.")
            return self.data.open("rb")
        except OSError as error:
            raise ImageError(f"The file {self.filename!r} can no longer be read.") from error


@dataclass(frozen=True, slots=True)
class Outcome:
    """The prediction of one upload, or the error that refused it. ``thumbnail`` is a data URI."""

    upload: Upload
    prediction: Prediction | None = None
    error: ImageError | None = None
    thumbnail: str | None = None


@dataclass(slots=True)
class Job:
    """An upload in the pipeline. Decoding gives it an ``error``, or an ``image`` with reduced
    pixels and the ``views`` that the network sees; then it gets a ``prediction``.

    A queued image has a ``record_id`` already, which becomes the id of its prediction.
    """

    index: int
    upload: Upload
    record_id: str = ""
    image: DecodedImage | None = None
    views: Tensor | None = None
    doubt: Doubt = ""
    hashes: list[int] = field(default_factory=list)
    provenance: Provenance | None = None
    error: ImageError | None = None
    decoding_seconds: float = 0
    prediction: Prediction | None = None
    thumbnail: str | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """Jobs that are judged together, with known and pending scores by sha256."""

    jobs: list[Job]
    known: dict[str, ImageScore]
    pending: dict[str, PendingScores]
    start: float
    ends: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for score in self._scores:
            score.add_done_callback(lambda _: self.ends.append(time.perf_counter()))

    @property
    def seconds(self) -> float:
        """Return the time until the last score; 0 if all scores were known."""
        if len(self.ends) < len(self._scores):  # a callback has not run yet
            return time.perf_counter() - self.start
        return max(self.ends, default=self.start) - self.start

    def shares_bytes_with(self, jobs: list[Job]) -> bool:
        return any(job.image and job.image.sha256 in self.pending for job in jobs)

    def wait_for_scores(self) -> dict[str, ImageScore]:
        """Return all scores by sha256. Raises what the first failed one raises."""
        scores = iter(results_of(self._scores))
        new = {
            sha256: pending.highest(list(islice(scores, len(pending.scores))))
            for sha256, pending in self.pending.items()
        }
        return self.known | new

    @property
    def _scores(self) -> list[Future[float]]:
        return [score for pending in self.pending.values() for score in pending.scores]


@dataclass(frozen=True, slots=True)
class Run:
    """The images of one call: what they have in common, and the steps of the pipeline.

    ``keeper`` stores their files and records; None stores nothing.
    """

    detector: Detector
    source: str
    keeper: Keeper | None
    owner: AbstractUser | None = None
    batch: PredictionBatch | None = None
    threshold: float | None = None
    all_frames: bool = False
    thumbnails: bool = False
    # Scores by sha256 whose first record is still to be written
    unrecorded: dict[str, ImageScore] = field(default_factory=dict)

    def outcomes(self, jobs: Iterable[Job], *, batch_size: int, workers: int) -> Iterator[Outcome]:
        """Yield one outcome per job, in order. ``workers`` threads decode, draw and store while
        this thread waits for the model and writes records.
        """
        ahead = min(AHEAD, batch_size)
        together = min(self.keeper.max_group, batch_size) if self.keeper else 1
        undo = self.keeper.delete_files if self.keeper else None
        with (
            ThreadPoolExecutor(workers) as threads,
            closing(run_ahead(threads, self.decode, jobs, ahead=ahead)) as decoded,
            closing(self._judge(in_groups(decoded, batch_size))) as judged,
            closing(
                run_ahead(threads, self._store_files, judged, ahead=ahead, undo=undo)
            ) as stored,
            closing(self._record(in_groups(stored, together, undo=undo))) as recorded,
        ):
            for job in recorded:
                yield Outcome(job.upload, job.prediction, job.error, job.thumbnail)

    def decode(self, job: Job) -> Job:
        try:
            data = job.upload.load()  # outside ``decoding``: it may wait for the storage
            with decoding:
                start = time.perf_counter()
                image = decode_image(data, image_limits())
                job.views = self.detector.prepare(image.pixels)
                job.doubt = self.detector.doubt(image.pixels)
                job.image = replace(image, pixels=fitted(image.pixels))  # enough to be drawn
                if self.keeper and job.doubt != Prediction.Reason.NO_CONTENT:
                    job.hashes = perceptual_hashes(job.image.pixels)
                job.decoding_seconds = time.perf_counter() - start
            job.provenance = inspect_upload(data)
        except ImageError as error:
            job.error = error
        return job

    def _judge(self, groups: Iterable[list[Job]]) -> Iterator[Job]:
        """Judge the groups; while one is judged, the one before it is stored and recorded."""
        current: _Group | None = None
        try:
            for group in groups:
                if current and current.shares_bytes_with(group):  # the new group has duplicates
                    yield from self._finish(current)
                    current = None
                before, current = current, self._ask(group)
                if before:
                    yield from self._finish(before)
            if current:
                yield from self._finish(current)
        finally:
            for each in current.pending.values() if current else ():
                each.cancel()

    def _ask(self, jobs: list[Job]) -> _Group:
        """Look up known scores, and ask the model for the others."""
        decoded = {job.image.sha256: job for job in jobs if job.image}
        known = self._known(decoded)
        new = {sha256: job for sha256, job in decoded.items() if sha256 not in known}
        start = time.perf_counter()
        several = {sha256: job for sha256, job in new.items() if self._needs_frames(job)}
        single = [sha256 for sha256 in new if sha256 not in several]
        scores = ask_for_scores(self.detector, [new[sha256].views for sha256 in single])
        pending = {sha: PendingScores([score]) for sha, score in zip(single, scores, strict=True)}
        try:
            for sha256, job in several.items():
                try:
                    pending[sha256] = ask_for_frames(self.detector, job)
                except ImageError as error:
                    _refuse(jobs, sha256, error)
        except BaseException:
            for each in pending.values():
                each.cancel()
            raise
        return _Group(jobs, known, pending, start)

    def _known(self, decoded: dict[str, Job]) -> dict[str, ImageScore]:
        known = {sha: self.unrecorded[sha] for sha in decoded if sha in self.unrecorded}
        if not self.keeper and self.source == Source.SCAN:  # such a scan needs no database
            return known
        for all_frames in (False, True):
            with database_errors():
                known |= find_scores(
                    sha256s={
                        sha256
                        for sha256, job in decoded.items()
                        if sha256 not in known and self._needs_frames(job) == all_frames
                    },
                    model_version=self.detector.info.version,
                    user=self.owner,
                    all_frames=all_frames,
                )
        return known

    def _needs_frames(self, job: Job) -> bool:
        """Return whether more frames of an image are judged than the first."""
        return self.all_frames and job.image.frames > 1

    def _finish(self, group: _Group) -> Iterator[Job]:
        """Wait for the scores, and build the predictions."""
        scores = group.wait_for_scores()
        readable = [job for job in group.jobs if job.image]
        seconds = group.seconds
        for job in readable:
            sha256 = job.image.sha256
            prediction = self.build_prediction(
                job, scores[sha256], seconds=job.decoding_seconds + seconds / len(readable)
            )
            job.prediction = prediction
            if prediction.frame > 1:  # the hashes are those of the first frame
                job.hashes = []
            if job.hashes:
                with database_errors():
                    prediction.agreement = agreement_of(prediction, job.hashes)
            if self.keeper:  # the same bytes in a later image are a duplicate of this one
                first = scores[sha256].prediction_id or prediction.pk
                known = replace(scores[sha256], prediction_id=first)
                scores[sha256] = self.unrecorded[sha256] = known
        yield from group.jobs

    def build_prediction(self, job: Job, score: ImageScore, *, seconds: float = 0.0) -> Prediction:
        """Return the record of a decoded image with this score, unsaved and without files."""
        image, model = job.image, self.detector.info
        shown = score.best or BestFrame(1, 1, image.width, image.height, job.doubt)
        verdict = self.detector.verdict(score.fake_score, self.threshold, shown.doubt)
        filename, created_at = clean_filename(job.upload.filename), now()
        record_id = job.record_id or new_id(created_at)
        return Prediction(
            id=record_id,
            batch=self.batch,
            batch_index=job.index if self.batch else None,
            owner=self.owner,
            source=self.source,
            source_url=job.upload.source_url,
            duplicate_of=score.prediction_id,
            original_filename=filename,
            result_filename=result_filename(original=filename, moment=moment_of(record_id)),
            sha256=image.sha256,
            size_bytes=image.size_bytes,
            width=shown.width,
            height=shown.height,
            image_format=image.format,
            damaged=image.damaged,
            frames=image.frames,
            frame=shown.number,
            judged_frames=shown.judged,
            camera=image.camera,
            software=image.software,
            label=verdict.label,
            fake_score=verdict.fake_score,
            threshold=verdict.threshold,
            margin=abs(verdict.fake_score - verdict.threshold),
            uncertain=verdict.uncertain,
            reason=verdict.doubt,
            model_name=model.name,
            model_version=model.version,
            duration_ms=round(seconds * 1000),
            created_at=created_at,
            updated_at=created_at,
            **origin_fields(job.provenance, verdict.label),
        )

    def _store_files(self, job: Job) -> Job:
        if self.thumbnails and job.image:
            job.thumbnail = thumbnail(job.image.pixels)
        if self.keeper and job.prediction:
            try:
                self.keeper.store_files(job, _drawn_result(job))
            except ImageError as error:
                job.prediction, job.error = None, error
        job.image = job.views = None  # writing the record needs no pixels
        return job

    def _record(self, groups: Iterable[list[Job]]) -> Iterator[Job]:
        """Write the records of each group together, then yield its images one by one. If the caller
        leaves early, delete the records and files of images that it did not take.
        """
        for group in groups:
            if self.keeper:
                self.keeper.write(group)
            for job in group:
                if job.prediction:
                    self.unrecorded.pop(job.prediction.sha256, None)
            left = deque(group)
            try:
                while left:
                    self._count(left[0])
                    yield left.popleft()
            except BaseException as error:
                if self.keeper:
                    self.keeper.delete([*left], cause=error)
                raise

    def _count(self, job: Job) -> None:
        """Update the Prometheus counters and, for stored images, the refusals of the day."""
        if job.prediction:
            prometheus.PREDICTIONS.labels(job.prediction.label, self.source).inc()
        elif self.keeper:
            note_refusal(code=job.error.code, source=self.source)
        else:
            prometheus.REFUSED_IMAGES.labels(job.error.code, self.source).inc()


def _refuse(jobs: list[Job], sha256: str, error: ImageError) -> None:
    for job in jobs:
        if job.image and job.image.sha256 == sha256:
            job.image, job.error = None, error


def _judged_pixels(job: Job) -> Image.Image:
    frame = job.prediction.frame
    if frame == 1:
        return job.image.pixels
    data = job.upload.load()
    with decoding:
        return fitted(decode_frame(data, frame, image_limits()))


def _drawn_result(job: Job) -> bytes:
    return draw_result(
        _judged_pixels(job),
        label=job.prediction.label,
        score=job.prediction.fake_score,
        uncertain=job.prediction.uncertain,
    )
