"""What the project does with images: every entrance (API, batch, folder scan, page) comes here.

An image goes through the same steps wherever it came from: decode, detect, draw the result,
store the files, write the record. No file stays without its record: files are stored first, and
deleted again when anything after them fails.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError

from detection.apps import get_detector
from detection.d3.decoding import DecodedImage, ImageLimits, decode_image
from detection.d3.errors import ImageError
from detection.d3.pipeline import in_groups, run_ahead
from detection.filenames import clean_filename, result_filename, storage_key
from detection.models import Prediction, PredictionBatch, now
from detection.rendering import draw_result

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser

logger = logging.getLogger(__name__)

DEFAULT_BATCH_SIZE = 8
WORKERS = 2  # threads that decode, draw and store beside inference
MAX_BATCH_ERRORS = 1000  # listed in a batch's record; all of them are counted
EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif"}  # otherwise the format's own name


class UnavailableError(Exception):
    """Something that we depend on is down; the same request may succeed later."""

    code = "unavailable"


class DatabaseUnavailableError(UnavailableError):
    code = "database_unavailable"


class StorageUnavailableError(UnavailableError):
    code = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it arrives: its name and its bytes, or the file to read them from."""

    filename: str
    data: bytes | Path

    def open(self) -> BinaryIO:
        return self.data.open("rb") if isinstance(self.data, Path) else io.BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one upload: a prediction, or the error that refused it."""

    upload: Upload
    prediction: Prediction | None = None
    error: ImageError | None = None


def predict_image(
    *,
    upload: Upload,
    source: str,
    owner: AbstractUser | None = None,
    batch: PredictionBatch | None = None,
    threshold: float | None = None,
    store: bool = True,
) -> Prediction:
    """The verdict on one image, with its files and record unless ``store`` is off.

    Raises ImageError for an image that cannot be used, D3Error for a detector that cannot,
    and UnavailableError when storage or database is down; none leaves anything behind.
    """
    [outcome] = predict_images(
        uploads=[upload], source=source, owner=owner, batch=batch, threshold=threshold, store=store
    )
    if outcome.error is not None:
        raise outcome.error
    return outcome.prediction


def predict_images(
    *,
    uploads: Iterable[Upload],
    source: str,
    owner: AbstractUser | None = None,
    batch: PredictionBatch | None = None,
    threshold: float | None = None,
    store: bool = True,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Iterator[Outcome]:
    """One outcome per upload, in order; ``batch`` is kept current with each.

    ``uploads`` is read lazily, so that only about three times ``batch_size`` images are in
    memory. Other threads decode, draw and store while this one infers; only this one touches
    the database. An image that cannot be used is an outcome; UnavailableError and
    D3Error end the iteration. Close the iterator (``contextlib.closing``) when leaving
    it early: files of images that have no record yet are then deleted.
    """
    run = _Run(source=source, owner=owner, batch=batch, threshold=threshold, store=store)
    with (
        ThreadPoolExecutor(WORKERS) as threads,
        closing(run_ahead(threads, _decode, uploads, ahead=batch_size)) as decoded,
        closing(run.detect(in_groups(decoded, batch_size))) as detected,
        closing(
            run_ahead(threads, run.store_files, detected, ahead=batch_size, undo=_discard)
        ) as stored,
    ):
        for index, job in enumerate(stored):
            run.record(index, job)
            yield Outcome(upload=job.upload, prediction=job.prediction, error=job.error)


def delete_prediction(*, prediction: Prediction) -> None:
    """Removes a record and its files."""
    keys = prediction.file_keys
    with _database():
        prediction.delete()
    _delete_files(keys)


def open_batch(
    *, total_images: int, source: str, owner: AbstractUser | None = None
) -> PredictionBatch:
    """The record of a run that starts now."""
    with _database():
        return PredictionBatch.objects.create(
            total_images=total_images,
            source=source,
            owner=owner,
            status=PredictionBatch.Status.RUNNING,
        )


def close_batch(
    *, batch: PredictionBatch, status: PredictionBatch.Status = PredictionBatch.Status.DONE
) -> None:
    """The run has ended: ``done`` when each image was tried, ``failed`` when it broke off."""
    with _database():
        # Counted again: an interrupt may have fallen between a record and its count.
        batch.successful = batch.predictions.count()
        batch.status = status
        batch.finished_at = now()
        batch.save(update_fields=["successful", "status", "finished_at"])


@dataclass(slots=True)
class _Job:
    """An upload on its way: ``image`` or ``error`` after decoding, then ``prediction``."""

    upload: Upload
    image: DecodedImage | None = None
    error: ImageError | None = None
    decoding_seconds: float = 0
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """What the images of one call have in common, and the steps that depend on it."""

    source: str
    owner: AbstractUser | None
    batch: PredictionBatch | None
    threshold: float | None
    store: bool

    def detect(self, groups: Iterable[list[_Job]]) -> Iterator[_Job]:
        for group in groups:
            readable = [job for job in group if job.image]
            if readable:
                self._detect_group(readable)
            yield from group

    def _detect_group(self, jobs: list[_Job]) -> None:
        detector = get_detector()
        start = time.perf_counter()
        verdicts = detector.detect([job.image.pixels for job in jobs], threshold=self.threshold)
        share = (time.perf_counter() - start) / len(jobs)
        for job, verdict in zip(jobs, verdicts, strict=True):
            filename, created_at = clean_filename(job.upload.filename), now()
            job.prediction = Prediction(
                batch=self.batch,
                owner=self.owner,
                source=self.source,
                original_filename=filename,
                result_filename=result_filename(original=filename, moment=created_at),
                sha256=job.image.sha256,
                size_bytes=job.image.size_bytes,
                width=job.image.width,
                height=job.image.height,
                image_format=job.image.format,
                label=verdict.label,
                fake_score=verdict.fake_score,
                threshold=verdict.threshold,
                uncertain=verdict.uncertain,
                model_name=detector.info.name,
                model_version=detector.info.version,
                duration_ms=round((job.decoding_seconds + share) * 1000),
                created_at=created_at,
            )

    def store_files(self, job: _Job) -> _Job:
        if self.store and job.prediction:
            _store_files(job)
        job.image = None  # waiting for its turn to be recorded, it needs no pixels
        return job

    def record(self, index: int, job: _Job) -> None:
        with _database():
            if self.store and job.prediction:
                _create_record(job.prediction)
            if self.batch:
                _count(batch=self.batch, index=index, job=job)


@contextmanager
def _database() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailableError("The database cannot be reached.") from error


def _decode(upload: Upload) -> _Job:
    limits = ImageLimits(max_bytes=settings.MAX_UPLOAD_BYTES, max_pixels=settings.MAX_IMAGE_PIXELS)
    job = _Job(upload)
    start = time.perf_counter()
    try:
        job.image = decode_image(upload.data, limits)
    except ImageError as error:
        job.error = error
    job.decoding_seconds = time.perf_counter() - start
    return job


def _store_files(job: _Job) -> None:
    """Both files of a prediction, or neither."""
    prediction = job.prediction
    result = draw_result(
        job.image.pixels,
        label=prediction.label,
        score=prediction.fake_score,
        uncertain=prediction.uncertain,
    )
    name = prediction.original_filename
    extension = EXTENSIONS.get(job.image.format, job.image.format.lower())
    prediction.result_image = _key(prediction, "results", prediction.result_filename)
    prediction.original_image = _key(prediction, "originals", f"{Path(name).stem}.{extension}")
    try:
        default_storage.save(prediction.result_image.name, ContentFile(result))
        with _open(job.upload) as original:
            default_storage.save(prediction.original_image.name, File(original))
    except BaseException as error:
        _delete_files(prediction.file_keys)
        if isinstance(error, ImageError):
            job.prediction, job.error = None, error
            return
        if not isinstance(error, Exception):
            raise
        # Storage backends have no error in common: whatever one raises, the file is not there.
        raise StorageUnavailableError("The file storage cannot be reached.") from error


def _open(upload: Upload) -> BinaryIO:
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


def _create_record(prediction: Prediction) -> None:
    try:
        prediction.save(force_insert=True)
    except BaseException as error:
        if not isinstance(error, Exception):  # an interrupt may come just after the record
            Prediction.objects.filter(pk=prediction.pk).delete()
        _delete_files(prediction.file_keys)
        raise


def _count(*, batch: PredictionBatch, index: int, job: _Job) -> None:
    if job.error is None:
        batch.successful += 1
        batch.save(update_fields=["successful"])
        return
    batch.failed += 1
    fields = ["failed"]
    if len(batch.errors) < MAX_BATCH_ERRORS:
        fields.append("errors")
        batch.errors.append(
            {
                "index": index,
                "filename": clean_filename(job.upload.filename),
                "error": str(job.error),
                "code": job.error.code,
            }
        )
    batch.save(update_fields=fields)


def _discard(job: _Job) -> None:
    """Undoes the storing of an image that will get no record."""
    if job.prediction:
        _delete_files(job.prediction.file_keys)


def _delete_files(keys: list[str]) -> None:
    for key in keys:
        try:
            default_storage.delete(key)
        except Exception:  # the failure that brought us here is the one to report
            logger.exception("The file %s could not be deleted.", key)
