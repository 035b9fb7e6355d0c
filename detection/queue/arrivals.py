"""Add images to the queue: store their files first, then add their records to a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

from django.core.files import File
from django.core.files.storage import default_storage

from detection.d3.errors import ImageError
from detection.d3.images import check_size, image_format
from detection.d3.prefetching import in_groups, run_ahead
from detection.errors import ServiceError, UnavailableError, database_errors, storage_errors
from detection.files import clean_filename, original_filename
from detection.judging import Upload, image_limits
from detection.models import PredictionBatch, QueuedImage
from detection.queue.closing import Sending, complete_sending, row_of
from detection.queue.leases import CHUNK
from detection.queue.quota import check_quota, quota_of
from detection.records import delete_files, note_refusal, undo_writes
from detection.sources import HEAD_BYTES

STORING_THREADS = 8
STORED_AHEAD = 8  # images that are stored, and so in memory, at a time
ADDING_TRIES = 50  # to reserve places, since other requests may add to the same batch

Item = TypeVar("Item")


class BatchClosedError(ServiceError):
    """The batch accepts no more images."""

    code = "batch_closed"

    def __init__(self, batch: PredictionBatch) -> None:
        super().__init__(
            f"The batch {batch.pk} accepts no more images; send further ones as a new batch."
        )


class TooManyQueuedError(ServiceError):
    """The batch would get more images than it may have."""

    code = "too_many_images"


def store_upload(upload: Upload) -> QueuedImage:
    """Store the file of an upload; return its queued image, unsaved. Raises UnavailableError."""
    image = QueuedImage(filename=clean_filename(upload.filename), source_url=upload.source_url)
    with storing(image):
        name = original_filename(image.filename, image_format=_format(upload))
        image.original_image = image.key("originals", name)
        with upload.open() as file, storage_errors():
            content = File(file)
            image.size_bytes = content.size
            default_storage.save(image.original_image.name, content)
    return image


@contextmanager
def storing(image: QueuedImage) -> Iterator[None]:
    """Turn an ImageError of the block into a refusal of the image, which then has no file. After an
    outage, delete the file.
    """
    try:
        yield
    except ImageError as error:
        image.original_image, image.size_bytes = "", 0
        image.code, image.error = error.code, str(error)
    except UnavailableError as error:
        undo_writes(cause=error, files=image.file_keys[:1])
        raise


def store_images(
    items: Iterable[Item], store: Callable[[Item], QueuedImage | None] = store_upload
) -> Iterator[QueuedImage]:
    """Store the file of each upload and yield its queued image, in order and unsaved. A file that
    is no image, or too large, is refused and not stored. With another ``store`` the items may be of
    another type; items for which it returns None are left out.

    ``items`` is read lazily. Raises UnavailableError; files of images that were not taken are then
    deleted.
    """
    with (
        ThreadPoolExecutor(STORING_THREADS) as threads,
        closing(
            run_ahead(threads, store, items, ahead=STORED_AHEAD, undo=_delete_stored)
        ) as stored,
    ):
        yield from (image for image in stored if image)


def _format(upload: Upload) -> str:
    """Return the format of the file. Raises ImageError for a file that can be refused without
    decoding.
    """
    upload.load()
    with upload.open() as file:
        head = file.read(HEAD_BYTES)
        check_size(file.seek(0, 2), image_limits().max_bytes)
    return image_format(head)


def _delete_stored(image: QueuedImage | None) -> None:
    delete_files(image.file_keys[:1] if image else [])


def add_in_groups(*, batch: PredictionBatch, images: Iterable[QueuedImage]) -> Iterator[range]:
    """Add any number of stored images, a group at a time; yield the places of each group."""
    for group in in_groups(images, CHUNK, undo=_delete_stored):
        yield add_images(batch=batch, images=group)


def add_images(
    *,
    batch: PredictionBatch,
    images: Iterable[QueuedImage],
    max_images: int | None = None,
    more: bool = True,
) -> range:
    """Write the records of stored images, which are queued from then on; return their places in the
    batch. The batch is complete unless ``more`` images may follow.

    Raises BatchClosedError, TooManyQueuedError, QueueQuotaError, UnavailableError, and what reading
    ``images`` raises; then the files and records of the images are deleted.
    """
    added: list[QueuedImage] = []
    places = range(0)
    try:
        added.extend(images)
        places = _reserve_places(batch, len(added), max_images)
        for place, image in zip(places, added, strict=True):
            image.batch, image.batch_index, image.quota = batch, place, quota_of(batch)
        with database_errors():
            QueuedImage.objects.bulk_create(added, batch_size=500)
            if row_of(batch).filter(finished_at__isnull=False).exists():
                raise BatchClosedError(batch)
        if added:
            check_quota(quota_of(batch))
        if not more:
            complete_sending(batch=batch)
    except BaseException as error:
        undo_writes(cause=error, queued=added)
        _release_places(batch, places)
        raise
    for image in added:
        if image.code:
            note_refusal(code=image.code, source=batch.source)
    return places


def _reserve_places(batch: PredictionBatch, count: int, max_images: int | None) -> range:
    """Reserve the next places of the batch, which no other request gets then."""
    for _ in range(ADDING_TRIES):
        with database_errors():
            total, sending = row_of(batch).values_list("total_images", "sending").get()
            if sending != Sending.OPEN:
                raise BatchClosedError(batch)
            if max_images is not None and total + count > max_images:
                raise TooManyQueuedError(
                    f"The batch would have {total + count} images; at most {max_images} are "
                    "allowed."
                )
            unchanged = row_of(batch).filter(total_images=total, sending=Sending.OPEN)
            if unchanged.update(total_images=total + count):
                batch.total_images = total + count
                return range(total, total + count)
    raise UnavailableError("Too many requests add to this batch at the same time.")


def _release_places(batch: PredictionBatch, places: range) -> None:
    """Release places that stayed empty, unless later ones were already given out."""
    with suppress(UnavailableError), database_errors():
        last = row_of(batch).filter(total_images=places.stop)
        if places and last.update(total_images=places.start):
            batch.total_images = places.start
