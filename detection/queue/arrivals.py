"""Images that are taken in: their files are stored, then they wait in the queue of their batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import BinaryIO, TypeVar

from django.core.files import File
from django.core.files.storage import default_storage

from detection.d3.errors import ImageError
from detection.d3.images import check_size, image_format
from detection.d3.prefetching import run_ahead
from detection.errors import ServiceError, UnavailableError, database_errors, storage_errors
from detection.files import clean_filename
from detection.judging import Upload, image_limits, name_of_original, open_upload
from detection.models import PredictionBatch, QueuedImage
from detection.queue.closing import Sending
from detection.queue.leases import CHUNK
from detection.records import delete_files, note_refusal, take_back
from detection.sources import HEAD_BYTES

STORING_THREADS = 8
STORED_AHEAD = 8  # images in memory while they are stored
ADDING_TRIES = 50  # while others add to the same batch

Item = TypeVar("Item")


class BatchClosedError(ServiceError):
    """The batch takes no more images."""

    code = "batch_closed"

    def __init__(self, batch: PredictionBatch) -> None:
        super().__init__(
            f"The batch {batch.pk} takes no more images; send further ones as a new batch."
        )


class TooManyQueuedError(ServiceError):
    """The batch would get more images than it may have."""

    code = "too_many_images"


def store_upload(upload: Upload) -> QueuedImage:
    """Its waiting image, not saved yet. Raises UnavailableError."""
    image = QueuedImage(filename=clean_filename(upload.filename))
    try:
        name = name_of_original(filename=image.filename, image_format=_format(upload))
        image.original_image = image.key("originals", name)
        with open_upload(upload) as file:
            _store(image, file)
    except ImageError as error:
        return refused(image, error)
    return image


def store_images(
    items: Iterable[Item], store: Callable[[Item], QueuedImage | None] = store_upload
) -> Iterator[QueuedImage]:
    """Each upload with its file stored, in order; not saved yet. What is no image, or too large,
    is refused without being stored. Another ``store`` takes other items, and leaves some out.

    ``items`` is read lazily. Raises UnavailableError; files that nobody took are then deleted.
    """
    with (
        ThreadPoolExecutor(STORING_THREADS) as threads,
        closing(
            run_ahead(threads, store, items, ahead=STORED_AHEAD, undo=_delete_stored)
        ) as stored,
    ):
        yield from (image for image in stored if image)


def refused(image: QueuedImage, error: ImageError) -> QueuedImage:
    """An image that is not stored, since it is known already that it cannot be judged."""
    image.original_image, image.code, image.error = "", error.code, str(error)
    return image


def _store(image: QueuedImage, file: BinaryIO) -> None:
    try:
        with storage_errors():
            default_storage.save(image.original_image.name, File(file))
    except UnavailableError as error:
        take_back(cause=error, files=[image.original_image.name])
        raise


def _format(upload: Upload) -> str:
    """What the file holds. Raises ImageError for what needs no decoding to be refused."""
    if upload.error:
        raise upload.error
    with open_upload(upload) as file:
        head = file.read(HEAD_BYTES)
        check_size(file.seek(0, 2), image_limits().max_bytes)
    return image_format(head)


def _delete_stored(image: QueuedImage | None) -> None:
    delete_files(image.file_keys[:1] if image else [])


def add_in_groups(*, batch: PredictionBatch, images: Iterable[QueuedImage]) -> Iterator[range]:
    """``add_images`` for any number of them, a few at a time; the places of each few."""
    group: list[QueuedImage] = []
    try:
        for image in images:
            group.append(image)
            if len(group) == CHUNK:
                added, group = group, []
                yield add_images(batch=batch, images=added, most=None)
        if group:
            added, group = group, []
            yield add_images(batch=batch, images=added, most=None)
    except BaseException as error:
        take_back_images(group, cause=error)
        raise


def add_images(*, batch: PredictionBatch, images: list[QueuedImage], most: int | None) -> range:
    """Writes the records of stored images; their places in the batch. From now on they wait.

    Raises BatchClosedError, TooManyQueuedError and UnavailableError; then their files are deleted.
    """
    places = range(0)
    try:
        places = _places(batch, len(images), most)
        for place, image in zip(places, images, strict=True):
            image.batch, image.batch_index = batch, place
        with database_errors():
            QueuedImage.objects.bulk_create(images, batch_size=500)
            if (
                PredictionBatch.objects.filter(pk=batch.pk)
                .filter(finished_at__isnull=False)
                .exists()
            ):
                raise BatchClosedError(batch)
    except BaseException as error:
        take_back_images(images, cause=error)
        give_back_places(batch, places)
        raise
    for image in images:
        if image.code:
            note_refusal(code=image.code, source=batch.source)
    return places


def take_back_images(images: list[QueuedImage], *, cause: BaseException) -> None:
    """Deletes what there may be of images, also where they were judged already."""
    ids = [image.pk for image in images]
    files = [key for image in images for key in image.file_keys]
    take_back(cause=cause, queued=ids, predictions=ids, files=files)


def give_back_places(batch: PredictionBatch, places: range) -> None:
    """Nobody uses them; unless there are later ones, the next part gets them."""
    same = PredictionBatch.objects.filter(pk=batch.pk, total_images=places.stop)
    with suppress(UnavailableError), database_errors():
        if places and same.update(total_images=places.start):
            batch.total_images = places.start


def _places(batch: PredictionBatch, count: int, most: int | None) -> range:
    """The next places of the batch, which nobody else gets."""
    for _ in range(ADDING_TRIES):
        with database_errors():
            total, sending = (
                PredictionBatch.objects.filter(pk=batch.pk)
                .values_list("total_images", "sending")
                .get()
            )
            if sending != Sending.OPEN:
                raise BatchClosedError(batch)
            if most is not None and total + count > most:
                raise TooManyQueuedError(
                    f"The batch would have {total + count} images; at most {most} are taken."
                )
            same = PredictionBatch.objects.filter(pk=batch.pk).filter(
                total_images=total, sending=Sending.OPEN
            )
            if same.update(total_images=total + count):
                batch.total_images = total + count
                return range(total, total + count)
    raise UnavailableError("Too many requests add to this batch at the same time.")
