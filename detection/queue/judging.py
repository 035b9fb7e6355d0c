"""Judge queued images under a lease, in any process.

A queued image becomes one prediction, however often judging it is tried: the prediction has the id
of the queued image, and the keys of its files follow from the id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError

from detection.d3.errors import ImageError
from detection.errors import database_errors, storage_errors
from detection.judging import DEFAULT_BATCH_SIZE, Job, Outcome, Run, get_detector
from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.queue.closing import Status, close_when_done, row_of
from detection.queue.leases import MAX_TRIES, Lease
from detection.records import (
    OriginalLostError,
    delete_files,
    note_refusal,
    read_original,
    write_predictions,
)

WORKERS = 4  # threads beside inference: each image is read from the storage first


class LostImageError(ImageError):
    """The stored file of a queued image is gone."""

    code = OriginalLostError.code


class JudgingFailedError(ImageError):
    code = "judging_failed"


def judge_batch(
    *,
    batch_id: str,
    first: int | None = None,
    last: int | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Judge the queued images of a batch that no other process judges: from place ``first`` to
    ``last``, or all. Close the batch if no image is left.

    Raises UnavailableError, D3Error, and whatever else judging an image may raise; images that were
    not judged stay queued.
    """
    get_detector()  # before the leases: if it cannot be loaded, no image has failed
    while not is_stopped():
        with database_errors():  # each time, since its owner may have been deleted
            batch = PredictionBatch.objects.filter(pk=batch_id).first()
        if batch is None:  # it was deleted in the meantime
            return
        with Lease.take(batch=batch, first=first, last=last) as lease:
            if not lease.images:
                break
            _judge_leased(batch, lease.images, is_stopped)
    close_when_done(batch_id=batch_id)


def _judge_leased(
    batch: PredictionBatch, images: list[QueuedImage], is_stopped: Callable[[], bool]
) -> None:
    with database_errors():
        row_of(batch).filter(status=Status.QUEUED).update(status=Status.RUNNING)
    judged: list[str] = []
    try:
        with closing(predict_queued(batch=batch, images=_still_queued(images))) as outcomes:
            for outcome in outcomes:
                if outcome.prediction:
                    judged.append(outcome.prediction.pk)
                if is_stopped():
                    break
    finally:
        with database_errors():
            QueuedImage.objects.filter(pk__in=judged).delete()


def _still_queued(images: list[QueuedImage]) -> list[QueuedImage]:
    """Leave out images whose prediction was written right before a kill, and refuse images that
    were tried too often.
    """
    retried = [image.pk for image in images if image.tries > 1]
    if not retried:
        return images
    with database_errors():
        predictions = Prediction.objects.filter(pk__in=retried).order_by()
        judged = set(predictions.values_list("pk", flat=True))
        QueuedImage.objects.filter(pk__in=judged).delete()
    left = []
    for image in images:
        if image.tries > MAX_TRIES and image.pk not in judged:
            sentence = f"Judging this image failed {MAX_TRIES} times; it is not tried again."
            _refuse(image, JudgingFailedError(sentence))
            note_refusal(code=JudgingFailedError.code, source=image.batch.source)
        elif image.pk not in judged:
            left.append(image)
    return left


def predict_queued(*, batch: PredictionBatch, images: Iterable[QueuedImage]) -> Iterator[Outcome]:
    """Judge queued images, one outcome for each. The caller must hold their leases.

    Raises what ``predict_images`` does; images without an outcome stay queued.
    """
    run = Run(
        detector=get_detector(),
        source=batch.source,
        owner=batch.owner,
        batch=batch,
        threshold=batch.threshold,
        all_frames=batch.all_frames,
        keeper=QueuedKeeper(),
    )
    jobs = (Job(image.batch_index, QueuedUpload(image), record_id=image.pk) for image in images)
    yield from run.outcomes(jobs, batch_size=DEFAULT_BATCH_SIZE, workers=WORKERS)


@dataclass(frozen=True, slots=True)
class QueuedUpload:
    """A queued image as an upload: its bytes are in the storage, and in memory only when needed."""

    image: QueuedImage

    @property
    def filename(self) -> str:
        return self.image.filename

    @property
    def source_url(self) -> str:
        return self.image.source_url

    def load(self) -> bytes:
        try:
            return read_original(self.image)
        except OriginalLostError as error:
            raise LostImageError(str(error)) from error


class QueuedKeeper:
    """Stores what a queued image lacks: its result and its record.

    Deletes nothing after a failure, since the next try writes the same files and the same record.
    """

    max_group = 1  # another process may have written any of the records

    def store_files(self, job: Job, result: bytes) -> None:
        image = job.upload.image
        job.prediction.result_image = image.result_key
        job.prediction.original_image = image.original_image.name
        with storage_errors():
            default_storage.save(image.result_key, ContentFile(result))

    def write(self, jobs: Sequence[Job]) -> None:
        [job] = jobs
        if job.error:
            _refuse(job.upload.image, job.error)
            return
        with database_errors():
            try:
                write_predictions([job.prediction], {job.prediction.pk: job.hashes})
            except IntegrityError:
                # An earlier try may have written the record. If not, the record refers to a row
                # that was just deleted, its owner for example: the next try reads the rows again.
                if not Prediction.objects.filter(pk=job.prediction.pk).exists():
                    raise

    def delete(self, jobs: Sequence[Job], *, cause: BaseException) -> None: ...

    def delete_files(self, job: Job) -> None: ...


def _refuse(image: QueuedImage, error: ImageError) -> None:
    """Record why a queued image cannot be judged, and delete its file. Raises UnavailableError."""
    with database_errors():
        queued = QueuedImage.objects.filter(pk=image.pk)
        queued.update(code=error.code, error=str(error))
        delete_files(image.file_keys)
        queued.update(original_image="", size_bytes=0)
