"""Find records without their files, and files without their record.

Records and files are compared by month, which storage keys name, so only one month is in memory. A
discrepancy is checked again before it is reported, because the service may be running.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.d3.errors import ImageError
from detection.d3.images import decode_frame
from detection.errors import database_errors, storage_errors
from detection.files import FOLDERS, TEMPORARY
from detection.judging import draw_result, image_limits
from detection.models import Prediction, QueuedImage, first_id
from detection.records import OriginalLostError, delete_with_files, read_original

MONTH = re.compile(r"(?:results|originals|heatmaps)/([0-9]{4})/(0[1-9]|1[0-2])")
RECORD_ID = re.compile(r"([0-9A-Z]{26})_")
FILE_FIELDS = ("result_image", "original_image", "heatmap_image")


@dataclass(frozen=True, slots=True)
class FileWithoutRecord:
    key: str

    def __str__(self) -> str:
        return f"No record has the file {self.key}."

    def repair(self) -> str:
        with storage_errors():
            default_storage.delete(self.key)
        return "The file was deleted."


@dataclass(frozen=True, slots=True)
class RecordWithoutFile:
    prediction_id: str
    field: str
    key: str

    def __str__(self) -> str:
        return f"The record {self.prediction_id} has no file {self.key}."

    def repair(self) -> str:
        """Draw a lost result again from the original; delete a record without both.

        Raises ImageError for an original that cannot be decoded.
        """
        with database_errors():
            prediction = Prediction.objects.filter(pk=self.prediction_id).first()
            if prediction is None:
                return "The record has been deleted meanwhile."
        if self.field == "result_image":
            return _repair_result(prediction)
        with database_errors():
            setattr(prediction, self.field, "")
            prediction.save(update_fields=[self.field])
        return "The record no longer names the file."


Discrepancy = FileWithoutRecord | RecordWithoutFile


def find_discrepancies(*, min_age: timedelta) -> Iterator[Discrepancy]:
    """Yield discrepancies; files younger than ``min_age`` are left out, since their record may
    follow.

    Only the folders of the service are read, since a bucket may be shared. Raises UnavailableError
    when database or storage is down.
    """
    yield from _strays(min_age)
    for month in sorted(_months_of_files() | _months_of_records()):
        yield from _in_month(month, min_age)


def is_storage_plausible() -> bool:
    """Return False where there are only records, or only files: then a setting names the wrong
    database, bucket or folder, and a repair would delete everything.
    """
    with database_errors():
        has_records = Prediction.objects.exists() or QueuedImage.objects.exists()
    has_files = any(_files(folder) for folder in _month_folders())
    return has_records == has_files


def _in_month(month: tuple[int, int], min_age: timedelta) -> Iterator[Discrepancy]:
    year, number = month
    stored = {
        posixpath.join(folder, name)
        for folder in (f"{kind}/{year:04}/{number:02}" for kind in FOLDERS)
        for name in _files(folder)
    }
    for prediction_id, *keys in _records(month):
        for field, key in zip(FILE_FIELDS, keys, strict=True):
            if key in stored:
                stored.remove(key)
            elif key and _is_missing(prediction_id, field, key):
                yield RecordWithoutFile(prediction_id, field, key)
    stored.difference_update(_keys_of_queued(month))
    for key in sorted(stored):
        if _is_orphan(key, min_age):
            yield FileWithoutRecord(key)


def _keys_of_queued(month: tuple[int, int]) -> Iterator[str]:
    """Yield the files of queued images, among them results whose judging was interrupted."""
    start, end = map(first_id, _bounds(month))
    with database_errors():
        for image in QueuedImage.objects.filter(pk__gte=start, pk__lt=end).iterator():
            yield from image.file_keys


def _bounds(month: tuple[int, int]) -> tuple[datetime, datetime]:
    year, number = month
    start = datetime(year, number, 1, tzinfo=UTC)
    return start, datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _records(month: tuple[int, int]) -> Iterator[tuple[str, ...]]:
    start, end = _bounds(month)
    with database_errors():
        yield from (
            Prediction.objects.filter(created_at__gte=start, created_at__lt=end)
            .order_by("created_at")
            .values_list("pk", *FILE_FIELDS)
            .iterator()
        )


def _is_missing(prediction_id: str, field: str, key: str) -> bool:
    with storage_errors():
        if default_storage.exists(key):
            return False
    with database_errors():
        return Prediction.objects.filter(pk=prediction_id, **{field: key}).exists()


def _is_orphan(key: str, min_age: timedelta) -> bool:
    with storage_errors():
        if not default_storage.exists(key):
            return False
        if timezone.now() - default_storage.get_modified_time(key) < min_age:
            return False
    match = RECORD_ID.match(posixpath.basename(key))
    if match is None:
        return True
    with database_errors():
        queued = QueuedImage.objects.filter(pk=match[1]).first()
        # Read after the queued image, which may become a prediction at this moment.
        record = Prediction.objects.filter(pk=match[1]).values_list(*FILE_FIELDS).first()
    return key not in [*(queued.file_keys if queued else ()), *(record or ())]


def _months_of_records() -> set[tuple[int, int]]:
    """Return all months from the first record to the last."""
    with database_errors():
        times = Prediction.objects.values_list("created_at", flat=True)
        first, last = (times.order_by(order).first() for order in ("created_at", "-created_at"))
    if first is None:
        return set()
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return {(number // 12, number % 12 + 1) for number in numbers}


def _months_of_files() -> set[tuple[int, int]]:
    matches = (MONTH.fullmatch(folder) for folder in _month_folders())
    return {(int(match[1]), int(match[2])) for match in matches if match}


def _month_folders() -> Iterator[str]:
    return (
        posixpath.join(kind, year, month)
        for kind in FOLDERS
        for year in _folders(kind)
        for month in _folders(posixpath.join(kind, year))
    )


def _strays(min_age: timedelta) -> Iterator[FileWithoutRecord]:
    """Yield files in the folders of the service that no key can name."""
    folders = [*FOLDERS, TEMPORARY]
    while folders:
        folder = folders.pop()
        folders += [posixpath.join(folder, name) for name in _folders(folder)]
        if MONTH.fullmatch(folder):
            continue
        for name in _files(folder):
            key = posixpath.join(folder, name)
            if _is_orphan(key, min_age):
                yield FileWithoutRecord(key)


def _folders(folder: str) -> list[str]:
    return _listed(folder)[0]


def _files(folder: str) -> list[str]:
    return _listed(folder)[1]


def _listed(folder: str) -> tuple[list[str], list[str]]:
    with storage_errors():
        try:
            return default_storage.listdir(folder)
        except FileNotFoundError:
            return [], []


def _repair_result(prediction: Prediction) -> str:
    try:
        pixels = decode_frame(read_original(prediction), prediction.frame, image_limits())
    except OriginalLostError:
        delete_with_files([prediction])
        return "The original is lost too; the record was deleted."
    except ImageError as error:
        raise ImageError(f"The result cannot be drawn again: {error}") from error
    picture = draw_result(
        pixels,
        label=prediction.label,
        score=prediction.fake_score,
        uncertain=prediction.uncertain,
    )
    with storage_errors():
        default_storage.save(prediction.result_image.name, ContentFile(picture))
    return "The result was drawn again."
