"""Images that waited are judged as all others are; only what is left of a failure differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.core.files.storage import default_storage
from django.db import IntegrityError

from detection.d3.errors import ImageError
from detection.errors import database_errors, storage_errors
from detection.judging import (
    DEFAULT_BATCH_SIZE,
    Job,
    Outcome,
    Run,
    Upload,
    drawn_result,
    get_detector,
    outcomes_of,
)
from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.records import Judged, OriginalLostError, delete_files, read_stored

WORKERS = 4  # threads beside inference: each image has to be fetched from the storage first


def judge_queued(*, batch: PredictionBatch, images: Iterable[QueuedImage]) -> Iterator[Outcome]:
    """The same for images that waited, which whoever calls must have leased.

    Each becomes the one prediction that it was made for, however often this is tried: the record
    has the id of the waiting image, and the files have the keys that follow from it. What breaks
    off leaves the rest waiting.
    """
    run = QueuedRun(
        detector=get_detector(),
        source=batch.source,
        owner=batch.owner,
        batch=batch,
        threshold=batch.threshold,
        store=True,
    )
    jobs = (Job(image.batch_index, Upload(image.filename, b""), queued=image) for image in images)
    yield from outcomes_of(run, jobs, batch_size=DEFAULT_BATCH_SIZE, workers=WORKERS)


class QueuedRun(Run):
    """Images that waited: their originals are stored, and nothing is taken back, since whoever
    tries again writes the same files and the same record.
    """

    writes_groups = False  # any of them may be written already

    def decode(self, job: Job) -> Job:
        try:
            data = read_stored(job.queued.original_image.name, filename=job.queued.filename)
        except OriginalLostError as error:
            job.error = LostImageError(str(error))
            return job
        job.upload = Upload(job.upload.filename, data)
        super().decode(job)
        job.upload = Upload(job.upload.filename, b"")  # it is stored, and may be large
        return job

    def _prediction(self, job: Job, judged: Judged, seconds: float) -> Prediction:
        prediction = super()._prediction(job, judged, seconds)
        prediction.id = job.queued.pk
        prediction.result_filename = job.queued.result_filename
        prediction.result_image = job.queued.result_key
        prediction.original_image = job.queued.original_image.name
        return prediction

    def store_files(self, job: Job) -> Job:
        if job.prediction:
            result = drawn_result(job)
            with storage_errors():
                default_storage.save(job.prediction.result_image.name, result)
        job.image = None
        return job

    def _write(self, jobs: list[Job]) -> None:
        [job] = jobs
        if job.error:  # in no transaction, since a file is deleted
            refuse_queued(image=job.queued, error=job.error)
            return
        try:
            super()._write(jobs)
        except IntegrityError:
            with database_errors():
                if not Prediction.objects.filter(pk=job.queued.pk).exists():
                    raise  # its owner was deleted just now, say: the next try knows
            # Whoever had it before had come as far as the record.

    def _count(self, jobs: list[Job]) -> set[str]:
        return set()

    def _take_back(self, jobs: list[Job], *, cause: BaseException) -> None:
        pass

    def discard(self, job: Job) -> None:
        pass


class LostImageError(ImageError):
    """A file that had been taken in is gone."""

    code = OriginalLostError.code


def refuse_queued(*, image: QueuedImage, error: ImageError) -> None:
    """Notes why a waiting image cannot be judged; its file goes away. Raises UnavailableError."""
    with database_errors():
        waiting = QueuedImage.objects.filter(pk=image.pk)
        waiting.update(code=error.code, error=str(error))
        delete_files(image.file_keys)
        waiting.update(original_image="")
