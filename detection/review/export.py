"""Export reviewed predictions as a data set to train on: their originals, by the reviewers' labels.

An export can be repeated into the same folder. Pictures whose decision was changed or undone are
deleted before anything new is written, so no picture is ever in the wrong class, even after an
interrupted export. The next export completes an interrupted one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from pathlib import Path

from detection.d3.files import reason, replacing
from detection.errors import ServiceError, database_errors
from detection.files import CsvTable, extension
from detection.models import RECORD_ID, Label, Prediction
from detection.records import OriginalLostError, read_original

VAL_SHARE = 0.2
MANIFEST = "manifest.csv"
SPLITS = ("train", "val")
# One source for all pictures: in validation each source counts the same, whatever its size.
SOURCE = "reviews"
CLASS_FOLDERS = {Label.REAL: "0_real", Label.FAKE: "1_fake"}
OURS = re.compile(rf"{RECORD_ID}\.[a-z0-9]+|\.{RECORD_ID}\.[a-z0-9]+\.\d+\.part")
REVIEWED = (Prediction.Review.CONFIRMED, Prediction.Review.OVERTURNED)
AT_ONCE = 200  # records that are in memory together


class ExportError(ServiceError):
    """The export cannot be written."""


@dataclass(slots=True)
class _Choice:
    """The review that counts for one picture, the latest of its bytes."""

    record_id: str
    revision: int
    reviewed_at: datetime
    label: str
    extension: str
    contradicted: bool = False  # by an earlier review of the same bytes


@dataclass(slots=True)
class ReviewExport:
    """One export into ``folder``, and its numbers.

    ``since`` leaves out pictures whose latest review is older. ``val_share`` (0..1) of the pictures
    are for validation; their content decides which, so that the same bytes are always in the same
    split. ``on_lost`` gets a sentence for each picture whose original is lost.

    Memory: a few hundred bytes for each reviewed picture, and one original at a time.
    """

    folder: Path
    since: datetime | None = None
    val_share: float = VAL_SHARE
    on_lost: Callable[[str], None] = lambda sentence: None
    pictures: Counter[tuple[str, str]] = field(default_factory=Counter)  # by split and label
    new: int = 0
    removed: int = 0
    contradicted: int = 0
    changed: int = 0  # reviewed again, or deleted, while the export ran
    lost: int = 0

    def run(self) -> None:
        """Write the export.

        Raises ExportError for a folder that is no export or cannot be written, and
        UnavailableError; files written until then are whole, and the next run continues.
        """
        try:
            _prepare(self.folder)
            self._update()
        except OSError as error:
            raise ExportError(
                f"The export {self.folder} cannot be written: {reason(error)}."
            ) from error

    def _update(self) -> None:
        choices = self._choices()
        wanted = {self._path(sha256, choice): choice for sha256, choice in choices.items()}
        self._remove_all_but(wanted)
        with _new_manifest(self.folder) as manifest:
            paths = iter(sorted(wanted, key=lambda path: wanted[path].record_id))
            while group := {path: wanted[path] for path in islice(paths, AT_ONCE)}:
                self._export(group, manifest)
        self._remove_empty_folders()

    def _choices(self) -> dict[str, _Choice]:
        """Return the latest review of each picture, by sha256."""
        choices: dict[str, _Choice] = {}
        with database_errors():
            for record in (
                Prediction.objects.filter(review_status__in=REVIEWED, frame=1)  # what training sees
                .order_by()
                .only(
                    *("id", "sha256", "image_format", "label", "review_status"),
                    *("reviewed_at", "created_at", "review_revision"),
                )
                .iterator()
            ):
                choice = _choice(record)
                if other := choices.get(record.sha256):
                    choice = _later(choice, other)
                choices[record.sha256] = choice
        if self.since is None:
            return choices
        return {sha256: c for sha256, c in choices.items() if c.reviewed_at >= self.since}

    def _path(self, sha256: str, choice: _Choice) -> str:
        split = "val" if int(sha256[:8], 16) < self.val_share * 16**8 else "train"
        class_folder = CLASS_FOLDERS[Label(choice.label)]
        return f"{split}/{SOURCE}/{class_folder}/{choice.record_id}.{choice.extension}"

    def _export(self, group: dict[str, _Choice], manifest: CsvTable) -> None:
        ids = [choice.record_id for choice in group.values()]
        with database_errors():
            records = Prediction.objects.prefetch_related("reviewer").in_bulk(ids)
        for path, choice in group.items():
            record = records.get(choice.record_id)
            if self._export_original(path, choice, record):
                self.pictures[path.partition("/")[0], choice.label] += 1
                self.contradicted += choice.contradicted
                values = (value_of(record) for value_of in COLUMNS.values())
                manifest.add([path, *values])
            else:
                (self.folder / path).unlink(missing_ok=True)

    def _export_original(self, path: str, choice: _Choice, record: Prediction | None) -> bool:
        """Copy the original unless the file exists already; return False if it must not exist."""
        if record is None or record.review_revision != choice.revision:
            self.changed += 1
            return False
        try:
            self.new += self._copy(record, self.folder / path)
        except OriginalLostError as error:
            self.lost += 1
            self.on_lost(f"{record.pk}: {error}")
            return False
        return True

    def _copy(self, record: Prediction, target: Path) -> bool:
        """Copy the original; return False if the file exists already."""
        if target.exists() and _sha256(target.read_bytes()) == record.sha256:
            return False
        data = read_original(record)
        if _sha256(data) != record.sha256:
            raise OriginalLostError(
                f"The stored file of {record.original_filename} is not the one that was judged."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            part.write_bytes(data)
        return True

    def _remove_all_but(self, wanted: dict[str, _Choice]) -> None:
        for folder in self._class_folders():
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                name = path.relative_to(self.folder).as_posix()
                if OURS.fullmatch(path.name) and name not in wanted:
                    path.unlink()
                    self.removed += not path.name.startswith(".")

    def _remove_empty_folders(self) -> None:
        """Delete empty folders: training refuses a split without pictures, and ignores a split
        without a folder.
        """
        for folder in self._class_folders():
            with suppress(OSError):  # missing, or not empty
                folder.rmdir()
                folder.parent.rmdir()
                folder.parent.parent.rmdir()

    def _class_folders(self) -> list[Path]:
        return [
            self.folder / split / SOURCE / name
            for split in SPLITS
            for name in CLASS_FOLDERS.values()
        ]


def _choice(record: Prediction) -> _Choice:
    return _Choice(
        record_id=record.pk,
        revision=record.review_revision,
        reviewed_at=_reviewed_at(record),
        label=record.label_in_force,
        extension=extension(record.image_format),
    )


def _reviewed_at(record: Prediction) -> datetime:
    """Return the time of the review; imported reviews may have none."""
    return record.reviewed_at or record.created_at


def _later(one: _Choice, other: _Choice) -> _Choice:
    later = max(one, other, key=lambda choice: (choice.reviewed_at, choice.record_id))
    later.contradicted = one.contradicted or other.contradicted or one.label != other.label
    return later


# The manifest has one line for each picture: its path, its label, and the verdict of the model.
COLUMNS: dict[str, Callable[[Prediction], object]] = {
    "id": attrgetter("pk"),
    "sha256": attrgetter("sha256"),
    "label": attrgetter("label_in_force"),
    "model_label": attrgetter("label"),
    "fake_score": attrgetter("fake_score"),
    "model_name": attrgetter("model_name"),
    "model_version": attrgetter("model_version"),
    "review_status": attrgetter("review_status"),
    "reviewed_at": lambda each: (
        _reviewed_at(each).astimezone(UTC).isoformat(timespec="milliseconds")
    ),
    "reviewer": lambda each: str(each.reviewer or ""),
    "original_filename": attrgetter("original_filename"),
    "source": attrgetter("source"),
    "width": attrgetter("width"),
    "height": attrgetter("height"),
}
HEADER = ["path", *COLUMNS]


def _prepare(folder: Path) -> None:
    """Write an empty manifest into a new or empty folder. Raises ExportError for a folder that has
    other files and is no export.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        with manifest.open(encoding="utf-8", errors="replace") as file:
            is_ours = file.readline().rstrip() == ",".join(HEADER)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        is_ours = all(path.name.startswith(".") for path in folder.iterdir())
        if is_ours:
            with _new_manifest(folder):
                pass
    if not is_ours:
        raise ExportError(f"{folder} is not empty and no export of reviews; choose another folder.")


@contextmanager
def _new_manifest(folder: Path) -> Iterator[CsvTable]:
    """Write a new manifest; it replaces the old one when it is complete."""
    with (
        replacing(folder / MANIFEST) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        yield CsvTable(file, HEADER, for_programs=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
