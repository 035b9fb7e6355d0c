"""The way of an image from its bytes to its record, the same wherever it came from: decode, detect,
draw the result, store the files, write the record. No file stays without its record: files are
stored first, and taken back when anything after them fails.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from detection import prometheus
from detection.d3.errors import ImageError
from detection.d3.html import thumbnail
from detection.d3.images import DecodedImage, decode_image
from detection.d3.prefetching import in_groups, run_ahead
from detection.errors import UnavailableError, database_errors, storage_errors
from detection.files import clean_filename, result_filename, storage_key
from detection.judging.batcher import results_of
from detection.judging.drawing import draw_result, fitted
from detection.judging.limits import decoding, image_limits
from detection.judging.scoring import ask_for_scores
from detection.models import Prediction, PredictionBatch, QueuedImage, Source, new_id, now
from detection.records import (
    Judged,
    count_refusal,
    delete_files,
    find_judged,
    take_back,
    write_predictions,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser
    from PIL import Image
    from torch import Tensor

    from detection.d3 import Detector

DEFAULT_BATCH_SIZE = 8
WORKERS = 2  # threads that decode, draw and store beside inference
AHEAD = 8  # images that they may be ahead
MAX_TOGETHER = 100  # records in one write: other writers wait for it, and it must not time out
EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif"}  # otherwise the format's own name


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it arrives: its name and its bytes, or the file to read them from.

    ``error`` says why it could not be had whole, where whoever unpacked it knows.
    """

    filename: str
    data: bytes | Path
    error: ImageError | None = None

    def open(self) -> BinaryIO:
        return self.data.open("rb") if isinstance(self.data, Path) else io.BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one upload: a prediction, or the error that refused it. ``thumbnail`` is a
    data URI, where it was asked for."""

    upload: Upload
    prediction: Prediction | None = None
    error: ImageError | None = None
    thumbnail: str | None = None


def outcomes_of(
    run: Run, jobs: Iterable[Job], *, batch_size: int, workers: int
) -> Iterator[Outcome]:
    ahead = min(AHEAD, batch_size)
    together = min(MAX_TOGETHER, batch_size) if run.writes_groups else 1
    with (
        ThreadPoolExecutor(workers) as threads,
        closing(run_ahead(threads, run.decode, jobs, ahead=ahead)) as decoded,
        closing(run.detect(in_groups(decoded, batch_size))) as detected,
        closing(
            run_ahead(threads, run.store_files, detected, ahead=ahead, undo=run.discard)
        ) as stored,
        closing(run.record(in_groups(stored, together, undo=run.discard))) as recorded,
    ):
        for job in recorded:
            yield Outcome(
                upload=job.upload,
                prediction=job.prediction,
                error=job.error,
                thumbnail=job.thumbnail,
            )


@dataclass(frozen=True, slots=True)
class _Image:
    """What stays of a decoded image: its facts, what the network sees, what will be drawn."""

    format: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    camera: str
    software: str
    views: Tensor
    picture: Image.Image


@dataclass(slots=True)
class Job:
    """An upload on its way: ``image`` or ``error`` after decoding, then ``prediction``."""

    index: int
    upload: Upload
    queued: QueuedImage | None = None
    image: _Image | None = None
    error: ImageError | None = None
    decoding_seconds: float = 0
    prediction: Prediction | None = None
    thumbnail: str | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A group on its way through the model: scores by sha256, those known and those to come."""

    jobs: list[Job]
    judged: dict[str, Judged]
    scores: dict[str, Future[float]] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    ends: list[float] = field(default_factory=list)

    def expect(self, scores: dict[str, Future[float]]) -> None:
        self.scores.update(scores)
        for score in scores.values():
            score.add_done_callback(lambda _: self.ends.append(time.perf_counter()))

    @property
    def seconds(self) -> float:
        """Until the last score was there; 0 where all were known."""
        if len(self.ends) < len(self.scores):  # it came just now
            return time.perf_counter() - self.start
        return max(self.ends, default=self.start) - self.start

    def shares_bytes_with(self, jobs: list[Job]) -> bool:
        return any(job.image and job.image.sha256 in self.scores for job in jobs)

    def cancel(self) -> None:
        for score in self.scores.values():
            score.cancel()


@dataclass(frozen=True, slots=True)
class Run:
    """What the images of one call have in common, and the steps that depend on it."""

    writes_groups: ClassVar[bool] = True  # records of images that were judged together

    detector: Detector
    source: str
    owner: AbstractUser | None
    batch: PredictionBatch | None
    threshold: float | None
    store: bool
    thumbnails: bool = False
    # Scores by sha256 whose first record is still to be written
    unrecorded: dict[str, Judged] = field(default_factory=dict)

    def decode(self, job: Job) -> Job:
        with decoding:
            start = time.perf_counter()
            try:
                if job.upload.error:
                    raise job.upload.error
                job.image = self._reduced(decode_image(job.upload.data, image_limits()))
            except ImageError as error:
                job.error = error
            job.decoding_seconds = time.perf_counter() - start
        return job

    def _reduced(self, image: DecodedImage) -> _Image:
        return _Image(
            format=image.format,
            width=image.width,
            height=image.height,
            size_bytes=image.size_bytes,
            sha256=image.sha256,
            camera=image.camera,
            software=image.software,
            views=self.detector.prepare(image.pixels),
            picture=fitted(image.pixels),
        )

    def detect(self, groups: Iterable[list[Job]]) -> Iterator[Job]:
        """While a group is judged, the one before it is stored and recorded."""
        asked: _Asked | None = None
        try:
            for group in groups:
                if asked and asked.shares_bytes_with(group):  # those are duplicates of these
                    yield from self._answered(asked)
                    asked = None
                before, asked = asked, self._ask(group)
                if before:
                    yield from self._answered(before)
            if asked:
                yield from self._answered(asked)
        finally:
            if asked:
                asked.cancel()

    def _ask(self, jobs: list[Job]) -> _Asked:
        """Old scores where there are any; the model is asked for the others."""
        images = {job.image.sha256: job.image for job in jobs if job.image}
        judged = {sha256: self.unrecorded[sha256] for sha256 in images if sha256 in self.unrecorded}
        if self.store or self.source != Source.SCAN:  # a scan that keeps nothing needs no database
            with database_errors():
                judged |= find_judged(
                    sha256s=[sha256 for sha256 in images if sha256 not in judged],
                    model_version=self.detector.info.version,
                    user=self.owner,
                )
        new = [sha256 for sha256 in images if sha256 not in judged]
        asked = _Asked(jobs, judged)
        scores = ask_for_scores(self.detector, [images[sha256].views for sha256 in new])
        asked.expect(dict(zip(new, scores, strict=True)))
        return asked

    def _answered(self, asked: _Asked) -> Iterator[Job]:
        scores = map(Judged, results_of(asked.scores.values()))
        judged = asked.judged | dict(zip(asked.scores, scores, strict=True))
        readable = [job for job in asked.jobs if job.image]
        seconds = asked.seconds
        for job in readable:
            earlier = judged[job.image.sha256]
            job.prediction = self._prediction(job, earlier, seconds / len(readable))
            if self.store:  # the same bytes once more are duplicates of these
                judged[job.image.sha256] = self.unrecorded[job.image.sha256] = replace(
                    earlier, prediction_id=earlier.prediction_id or job.prediction.pk
                )
        yield from asked.jobs

    def _prediction(self, job: Job, judged: Judged, seconds: float) -> Prediction:
        verdict = self.detector.verdict(judged.fake_score, self.threshold)
        filename, created_at = clean_filename(job.upload.filename), now()
        return Prediction(
            id=new_id(created_at),
            batch=self.batch,
            batch_index=job.index if self.batch else None,
            owner=self.owner,
            source=self.source,
            duplicate_of=judged.prediction_id,
            original_filename=filename,
            result_filename=result_filename(original=filename, moment=created_at),
            sha256=job.image.sha256,
            size_bytes=job.image.size_bytes,
            width=job.image.width,
            height=job.image.height,
            image_format=job.image.format,
            camera=job.image.camera,
            software=job.image.software,
            label=verdict.label,
            fake_score=verdict.fake_score,
            threshold=verdict.threshold,
            margin=abs(verdict.fake_score - verdict.threshold),
            uncertain=verdict.uncertain,
            model_name=self.detector.info.name,
            model_version=self.detector.info.version,
            duration_ms=round((job.decoding_seconds + seconds) * 1000),
            created_at=created_at,
            updated_at=created_at,
        )

    def store_files(self, job: Job) -> Job:
        if self.thumbnails and job.image:
            job.thumbnail = thumbnail(job.image.picture)
        if self.store and job.prediction:
            _store_files(job)
        job.image = None  # waiting for its turn to be recorded, it needs no pixels
        return job

    def record(self, groups: Iterable[list[Job]]) -> Iterator[Job]:
        """Writes the records of each group together, then gives its images one by one. Those that
        nobody took are taken back, when the taker leaves before.
        """
        for group in groups:
            if self.store:
                self._write(group)
            waiting = deque(group)
            try:
                while waiting:
                    self._tell(waiting[0])
                    yield waiting.popleft()
            except BaseException as error:
                if self.store:
                    self._take_back([*waiting], cause=error)
                raise

    def _write(self, jobs: list[Job]) -> None:
        written = [job.prediction for job in jobs if job.prediction]
        changed = self._count(jobs)
        try:
            with database_errors(), transaction.atomic():  # one commit, where there are any
                if written:
                    write_predictions(written)
                if changed:
                    self.batch.save(update_fields=changed)
        except BaseException as error:  # the records may have been written all the same
            self._take_back(jobs, cause=error)
            raise
        for prediction in written:
            self.unrecorded.pop(prediction.sha256, None)

    def _take_back(self, jobs: list[Job], *, cause: BaseException) -> None:
        """From then on the batch's own record is behind, until it is closed or deleted."""
        predictions = [job.prediction for job in jobs if job.prediction]
        take_back(
            cause=cause,
            predictions=[prediction.pk for prediction in predictions],
            files=[key for prediction in predictions for key in prediction.file_keys],
        )
        if self.batch:
            for job in jobs:
                self.batch.uncount(index=job.index, error=job.error)

    def _tell(self, job: Job) -> None:
        """The figures of the service."""
        if job.prediction:
            prometheus.PREDICTIONS.labels(job.prediction.label, self.source).inc()
        else:
            self._count_refusal(job.error)

    def discard(self, job: Job) -> None:
        """Undoes the storing of an image that will get no record."""
        if job.prediction:
            delete_files(job.prediction.file_keys)

    def _count_refusal(self, error: ImageError) -> None:
        prometheus.REFUSED_IMAGES.labels(error.code, self.source).inc()
        if self.store:
            with suppress(UnavailableError):  # the client is told what is wrong all the same
                count_refusal(code=error.code, source=self.source)

    def _count(self, jobs: list[Job]) -> set[str]:
        """In the batch, whose fields that changed are given."""
        if not self.batch:
            return set()
        return {
            field
            for job in jobs
            for field in self.batch.count(
                index=job.index, filename=job.upload.filename, error=job.error
            )
        }


def _store_files(job: Job) -> None:
    """Both files of a prediction, or neither."""
    prediction = job.prediction
    name = prediction.original_filename
    original_name = name_of_original(filename=name, image_format=job.image.format)
    prediction.result_image = _key(prediction, "results", prediction.result_filename)
    prediction.original_image = _key(prediction, "originals", original_name)
    result = drawn_result(job)
    try:
        with open_upload(job.upload) as original, storage_errors():
            default_storage.save(prediction.result_image.name, result)
            default_storage.save(prediction.original_image.name, File(original))
    except ImageError as error:
        job.prediction, job.error = None, error
    except BaseException as error:
        take_back(cause=error, files=prediction.file_keys)
        raise


def drawn_result(job: Job) -> ContentFile:
    result = draw_result(
        job.image.picture,
        label=job.prediction.label,
        score=job.prediction.fake_score,
        uncertain=job.prediction.uncertain,
    )
    return ContentFile(result)


def name_of_original(*, filename: str, image_format: str) -> str:
    """A client's clean file name, with the extension of what the file holds."""
    return f"{Path(filename).stem}.{EXTENSIONS.get(image_format, image_format.lower())}"


def open_upload(upload: Upload) -> BinaryIO:
    """Raises ImageError when the file has gone since it was decoded."""
    try:
        return upload.open()
    except OSError as error:
        raise ImageError(f"The file {upload.filename} can no longer be read.") from error


def _key(prediction: Prediction, folder: str, filename: str) -> str:
    return storage_key(
        folder=folder,
        record_id=prediction.pk,
        moment=prediction.created_at,
        filename=filename,
    )
