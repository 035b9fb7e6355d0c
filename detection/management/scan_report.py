"""Write the report of a folder scan: CSV, JSON, or an HTML page that needs no other file.

Each row is written at once, so a report of a million images needs little memory, and the report of
an interrupted scan has the rows until then.
"""

from __future__ import annotations

import heapq
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TextIO

from django.core.management import CommandError
from django.template.loader import render_to_string
from django.utils import timezone

from detection.d3.files import reason
from detection.d3.html import STYLE
from detection.files import CsvTable
from detection.judging import LABEL_COLOURS, Outcome
from detection.models import Label, Prediction

SURROGATE = re.compile("[\ud800-\udfff]")
MAX_THUMBNAILS = 2000  # a page with more is a burden for every browser


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one image.

    A refused image has an ``error`` and its ``code`` instead of a verdict. An image that was not
    stored has no ``id``.
    """

    path: str
    label: str | None = None
    fake_score: float | None = None
    confidence: float | None = None
    uncertain: bool | None = None
    reason: str | None = None
    threshold: float | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    damaged: bool | None = None
    frames: int | None = None
    sha256: str | None = None
    id: str | None = None
    error: str | None = None
    code: str | None = None
    declares: str | None = None
    generator: str | None = None
    file_says: str | None = None

    @classmethod
    def of(cls, outcome: Outcome, *, stored: bool) -> Row:
        path = str(outcome.upload.data)
        if outcome.error is not None:
            return cls(path=path, error=str(outcome.error), code=outcome.error.code)
        prediction = outcome.prediction
        return cls(
            path=path,
            label=prediction.label,
            fake_score=prediction.fake_score,
            confidence=prediction.confidence,
            uncertain=prediction.uncertain,
            reason=prediction.reason or None,
            threshold=prediction.threshold,
            width=prediction.width,
            height=prediction.height,
            format=prediction.image_format,
            damaged=prediction.damaged,
            frames=prediction.frames,
            sha256=prediction.sha256,
            id=prediction.pk if stored else None,
            declares=prediction.declares or None,
            generator=prediction.provenance.get("generator") or None,
            file_says=prediction.provenance.get("says") or None,
        )


@dataclass(slots=True)
class Scan:
    """The figures of a scan so far. ``unreadable`` has the refused images."""

    path: Path
    images: int
    others: int
    closed: list[str]
    model_name: str
    model_version: str
    threshold: float
    batch_id: str | None = None
    fake: int = 0
    real: int = 0
    uncertain: int = 0
    declared: Counter[str] = field(default_factory=Counter)
    unreadable: list[Row] = field(default_factory=list)
    seconds: float = 0

    def add(self, row: Row) -> None:
        if row.error is not None:
            self.unreadable.append(row)
            return
        self.fake += row.label == Label.FAKE
        self.real += row.label == Label.REAL
        self.uncertain += row.uncertain
        if row.declares:
            self.declared[row.declares] += 1

    @property
    def tried(self) -> int:
        return self.fake + self.real + len(self.unreadable)

    @property
    def is_complete(self) -> bool:
        return self.tried == self.images

    @property
    def images_per_second(self) -> float:
        return self.tried / self.seconds if self.seconds else 0.0

    def relative(self, path: str) -> str:
        """Return the path relative to the scanned folder."""
        return (
            Path(path).name if Path(path) == self.path else str(Path(path).relative_to(self.path))
        )


class Report:
    """A report, which gets each row of a scan, then the figures. This base class writes nothing."""

    shows_thumbnails = False

    def add(self, row: Row, thumbnail: str | None = None) -> None: ...

    def finish(self, scan: Scan) -> None: ...


class CsvReport(Report):
    """One line per image. Quotes file names that a spreadsheet would run as formulas."""

    def __init__(self, file: TextIO) -> None:
        self._table = CsvTable(file, [column.name for column in fields(Row)])

    def add(self, row: Row, thumbnail: str | None = None) -> None:
        self._table.add(asdict(row).values())


class JsonReport(Report):
    """One object with the images and the figures of the scan."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._file.write('{"images": [')
        self._separator = "\n"

    def add(self, row: Row, thumbnail: str | None = None) -> None:
        self._file.write(f"{self._separator}{_json(asdict(row))}")
        self._separator = ",\n"

    def finish(self, scan: Scan) -> None:
        figures = _json(_figures(scan)).removeprefix("{")
        self._file.write(f"\n], {figures}\n")


class HtmlReport(Report):
    """A page with thumbnails, the highest fake score first."""

    shows_thumbnails = True

    def __init__(self, file: TextIO) -> None:
        self._file = file
        # A heap of score, place, row and thumbnail, the lowest score first. Places count down: of
        # equal scores, the earlier image is the greater.
        self._shown: list[tuple[float, int, Row, str | None]] = []
        self._places = count(step=-1)

    def add(self, row: Row, thumbnail: str | None = None) -> None:
        if row.error is not None:
            return
        shown = (row.fake_score, next(self._places), row, thumbnail)
        if len(self._shown) < MAX_THUMBNAILS:
            heapq.heappush(self._shown, shown)
        else:
            heapq.heappushpop(self._shown, shown)

    def finish(self, scan: Scan) -> None:
        page = render_to_string(
            "scan_report.html",
            {
                "style": STYLE,
                "colours": LABEL_COLOURS,
                "scan": scan,
                "name": scan.path.resolve().name or scan.path,
                "finished_at": timezone.now(),
                "declared": [
                    (value, words, scan.declared[value])
                    for value, words in Prediction.Declares.choices
                    if scan.declared[value]
                ],
                "images": [
                    (row, scan.relative(row.path), thumbnail)
                    for _, _, row, thumbnail in sorted(self._shown, reverse=True)
                ],
                "hidden": scan.fake + scan.real - len(self._shown),
                "unreadable": [(scan.relative(row.path), row.error) for row in scan.unreadable],
                "closed": [scan.relative(path) for path in scan.closed],
            },
        )
        self._file.write(page)


REPORTS: dict[str, Callable[[TextIO], Report]] = {
    ".csv": CsvReport,
    ".json": JsonReport,
    ".html": HtmlReport,
}


def check_output(path: Path) -> None:
    """Raise CommandError for a folder and for an unknown file name extension."""
    if path.suffix.lower() not in REPORTS:
        raise CommandError(f"The report {path} must end in .csv, .json or .html.")
    if path.is_dir():
        raise CommandError(f"The report {path} cannot be written: it is a folder.")


@contextmanager
def open_report(path: Path | None, scan: Scan) -> Iterator[Report]:
    """Write a report to ``path`` at the end of the block, in place of an older report.

    After an error, the report has the rows until then. Without rows, an older report stays.
    ``path`` None writes nothing. Raises CommandError.
    """
    if path is None:
        yield Report()
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _writing(path):
        # Names of images may have bytes that are not text.
        file = part.open("x", encoding="utf-8", errors="backslashreplace", newline="")
    try:
        with _writing(path):
            report = REPORTS[path.suffix.lower()](file)
        try:
            yield report
        finally:
            if scan.tried or not scan.images:
                with _writing(path), file:
                    report.finish(scan)
                with _writing(path):
                    part.replace(path)
    finally:
        with suppress(OSError):
            file.close()
        part.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"The report {path} cannot be written: {reason(error)}.") from error


def _json(value: dict) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A byte of a file name that is not text is half a surrogate pair here, which is not valid JSON.
    return SURROGATE.sub(lambda half: rf"\\u{ord(half[0]):x}", text)


def _figures(scan: Scan) -> dict:
    return {
        "path": str(scan.path),
        "batch_id": scan.batch_id,
        "complete": scan.is_complete,
        "finished_at": timezone.now().isoformat(timespec="seconds"),
        "seconds": round(scan.seconds, 3),
        "images_per_second": round(scan.images_per_second, 3),
        "total_images": scan.images,
        "fake": scan.fake,
        "real": scan.real,
        "uncertain": scan.uncertain,
        "declared": {name: scan.declared[name] for name in Prediction.Declares.values},
        "unreadable": len(scan.unreadable),
        "other_files": scan.others,
        "closed_folders": scan.closed,
        "model": {
            "name": scan.model_name,
            "version": scan.model_version,
            "threshold": scan.threshold,
        },
    }
