"""Store the files and records of judged images, and delete them after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction

from detection.errors import DatabaseUnavailableError, database_errors, storage_errors
from detection.files import original_filename
from detection.models import PredictionBatch
from detection.records import delete_files, undo_writes, write_predictions

if TYPE_CHECKING:
    from detection.judging.pipeline import Job


class Keeper(Protocol):
    """Stores the files of an image first and its record afterwards: no record lacks a file."""

    max_group: int  # records that are written together

    def store_files(self, job: Job, result: bytes) -> None:
        """Store the files of a prediction, or none of them; ``result`` is the drawn JPEG.

        Raises ImageError when the original is gone, and UnavailableError.
        """

    def write(self, jobs: Sequence[Job]) -> None:
        """Write the records of a group, or none of them. Raises UnavailableError."""

    def delete(self, jobs: Sequence[Job], *, cause: BaseException) -> None:
        """Delete the records and files of images whose outcomes the caller did not take."""

    def delete_files(self, job: Job) -> None:
        """Delete the files of an image that gets no record."""


class DirectKeeper:
    """Stores images that were just sent, and counts them in the ``batch`` if there is one.

    After a failure nothing of the images is left.
    """

    max_group = 100  # more records would delay other writers until they time out

    def __init__(self, batch: PredictionBatch | None) -> None:
        self._batch = batch

    def store_files(self, job: Job, result: bytes) -> None:
        prediction = job.prediction
        name = original_filename(prediction.original_filename, image_format=prediction.image_format)
        prediction.result_image = prediction.key("results", prediction.result_filename)
        prediction.original_image = prediction.key("originals", name)
        with job.upload.open() as original:
            try:
                with storage_errors():
                    default_storage.save(prediction.result_image.name, ContentFile(result))
                    default_storage.save(prediction.original_image.name, File(original))
            except BaseException as error:
                undo_writes(cause=error, files=prediction.file_keys)
                raise

    def write(self, jobs: Sequence[Job]) -> None:
        judged = [job for job in jobs if job.prediction]
        changed = self._count(jobs)
        try:
            with database_errors(), transaction.atomic():  # one commit for all, on SQLite
                if judged:
                    write_predictions(
                        [job.prediction for job in judged],
                        {job.prediction.pk: job.hashes for job in judged},
                    )
                if changed:
                    self._batch.save(update_fields=changed)
        except IntegrityError as error:  # after a lost answer, the driver wrote the same ids again
            self.delete(jobs, cause=error)
            raise DatabaseUnavailableError("The database cannot be reached.") from error
        except BaseException as error:  # the database may have written the records nevertheless
            self.delete(jobs, cause=error)
            raise

    def delete(self, jobs: Sequence[Job], *, cause: BaseException) -> None:
        """Delete the predictions. The record of the batch stays outdated until the batch is closed
        or deleted.
        """
        undo_writes(cause=cause, predictions=[job.prediction for job in jobs if job.prediction])
        if self._batch:
            for job in jobs:
                self._batch.uncount(index=job.index, error=job.error)

    def delete_files(self, job: Job) -> None:
        if job.prediction:
            delete_files(job.prediction.file_keys)

    def _count(self, jobs: Sequence[Job]) -> set[str]:
        """Count the images in the batch; return the names of its changed fields."""
        if not self._batch:
            return set()
        return {
            field
            for job in jobs
            for field in self._batch.count(
                index=job.index, filename=job.upload.filename, error=job.error
            )
        }
