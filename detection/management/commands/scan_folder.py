from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from detection.d3.files import reason
from detection.judging import (
    DEFAULT_BATCH_SIZE,
    Outcome,
    Upload,
    get_detector,
    percentage,
    predict_images,
)
from detection.management.base import SOME_LOST, ServiceCommand
from detection.management.interrupts import StopSignals
from detection.management.queued_scan import QueuedScan, open_folder
from detection.management.scan_report import (
    Report,
    Row,
    Scan,
    check_output,
    open_report,
)
from detection.models import PredictionBatch, Source
from detection.records import close_batch, open_batch
from detection.sources import SCHEME, BucketPrefix

INTERRUPTED_BY = 128  # plus the signal's number: the exit code, as in shells
LINE = "{:<7}  {:>10}  {:<10}  {}"


class Command(ServiceCommand):
    help = (
        "Judges the images of a folder: which are real photographs, and which are fakes? "
        "Hidden files are left out. Files that are no images and are not named like one "
        "(notes.txt) are only counted; every other unreadable file is listed with the reason. "
        "Exit code: 0 when all images were read, 2 when some were unreadable, 130 after Ctrl-C, 1 "
        "after any other error."
    )
    requires_system_checks = []  # an unusable checkpoint is one sentence of the command
    interrupted = "Interrupted before the first image."
    names_cause = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "path",
            type=_place,
            help="a folder, or a single image; with --queue also s3://bucket/prefix",
        )
        parser.add_argument("--recursive", action="store_true", help="include all subfolders")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="F",
            help="write a report: F ends in .csv, .json or .html (with thumbnails)",
        )
        parser.add_argument(
            "--threshold",
            type=float,
            metavar="T",
            help="call an image FAKE above this score, 0 to 1; default: the checkpoint's",
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=DEFAULT_BATCH_SIZE,
            metavar="N",
            help=f"judge N images at once; default: {DEFAULT_BATCH_SIZE}",
        )
        parser.add_argument(
            "--no-store",
            action="store_false",
            dest="store",
            help="store neither records nor files",
        )
        parser.add_argument(
            "--queue",
            action="store_true",
            help="store the images, which the workers judge; without a broker, this process judges "
            "them",
        )

    def handle(self, *args: Any, queue: bool, **options: Any) -> None:
        try:
            if queue:
                self._send(**options)
            else:
                self._scan(**options)
        except OSError as error:
            raise CommandError(f"The scan failed: {reason(error)}.") from error

    def _send(
        self, *, path: Path | BucketPrefix, recursive: bool, threshold: float | None, **options: Any
    ) -> None:
        _check_options(output=None, threshold=threshold, batch_size=options["batch_size"])
        if options["output"] or not options["store"]:
            raise CommandError("--queue stores images and has no report: leave that option out.")
        self.check_migrations()
        with StopSignals() as stop:
            scan = QueuedScan(self._print, stop)
            is_interrupted = scan.run(path, recursive=recursive, threshold=threshold)
        if is_interrupted:
            raise CommandError("Interrupted.", returncode=INTERRUPTED_BY + stop.received)

    def _scan(
        self,
        *,
        path: Path | BucketPrefix,
        recursive: bool,
        output: Path | None,
        threshold: float | None,
        batch_size: int,
        store: bool,
        **options: Any,
    ) -> None:
        _check_options(output=output, threshold=threshold, batch_size=batch_size)
        if isinstance(path, BucketPrefix):
            raise CommandError("Only the workers read a bucket: add --queue.")
        listing = open_folder(path, recursive=recursive)
        if store:
            self.check_migrations()
        detector = get_detector().info
        scan = Scan(
            path=path,
            images=len(listing.images),
            others=listing.others,
            closed=listing.closed,
            model_name=detector.name,
            model_version=detector.version,
            threshold=detector.threshold if threshold is None else threshold,
        )
        with StopSignals() as stop:
            with open_report(output, scan) as report, _recorded(scan, store=store) as batch:
                outcomes = predict_images(
                    uploads=(Upload(path.name, path) for path in map(Path, listing.images)),
                    source=Source.SCAN,
                    batch=batch,
                    threshold=threshold,
                    store=store,
                    batch_size=batch_size,
                    thumbnails=report.shows_thumbnails,
                )
                self._follow(outcomes, scan=scan, report=report, stored=store, stop=stop)
            self._print_summary(scan, output)
        if not scan.is_complete:
            raise CommandError(
                f"Interrupted after {scan.tried} of {scan.images} images.",
                returncode=INTERRUPTED_BY + stop.received,
            )
        if problem := _reading_problem(scan):
            raise CommandError(problem, returncode=SOME_LOST)

    def _follow(
        self,
        outcomes: Generator[Outcome],
        *,
        scan: Scan,
        report: Report,
        stored: bool,
        stop: StopSignals,
    ) -> None:
        """Print and report each outcome, until the last one or a signal."""
        none = f"There are no images in {scan.path}."
        self._print(LINE.format("Verdict", "Fake score", "", "File") if scan.images else none)
        bar = self.progress_bar(total=scan.images, unit="image", leave=False)
        start = time.perf_counter()
        try:
            with suppress(KeyboardInterrupt), bar, closing(outcomes):
                for outcome in outcomes:
                    row = Row.of(outcome, stored=stored)
                    scan.add(row)
                    report.add(row, outcome.thumbnail)
                    self._print_row(row, scan)
                    bar.update()
                    if stop.received:
                        stop.ignore()
                        break
        finally:
            stop.ignore()
            scan.seconds = time.perf_counter() - start

    def _print_row(self, row: Row, scan: Scan) -> None:
        name = scan.relative(row.path)
        if row.error is not None:
            self._print(LINE.format("-", "-", "unreadable", name))
            return
        mark = "uncertain" if row.uncertain else ""
        self._print(LINE.format(row.label, percentage(row.fake_score), mark, name))

    def _print_summary(self, scan: Scan, output: Path | None) -> None:
        figures = {
            "Images": scan.images,
            "FAKE": scan.fake,
            "REAL": scan.real,
            "Uncertain": scan.uncertain,
            "Unreadable": len(scan.unreadable),
            "Other files": scan.others,
            "Seconds": f"{scan.seconds:.1f}",
            "Images/s": f"{scan.images_per_second:.1f}",
        }
        self._print("")
        for name, figure in figures.items():
            self._print(f"{name:<11}  {figure:>8}")
        if scan.unreadable or scan.closed:
            self._print("")
            self._print("Could not be read:")
        for row in scan.unreadable:
            self._print(f"  {scan.relative(row.path)}: {row.error}")
        for folder in scan.closed:
            self._print(f"  {scan.relative(folder)}: This folder cannot be opened.")
        if scan.batch_id:
            self._print("")
            self._print(f"Batch: {scan.batch_id}")
        if output and (scan.tried or not scan.images):
            self._print(f"Report: {output}")

    def _print(self, line: str) -> None:
        """Print a line above the progress bar, and into a pipe without delay."""
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        # A file name may contain line feeds, and commands to the terminal.
        visible = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        with tqdm.external_write_mode():
            self.stdout.write(visible.encode(encoding, "backslashreplace").decode(encoding))
            self.stdout.flush()


def _place(text: str) -> Path | BucketPrefix:
    return BucketPrefix.read(text) if text.startswith(SCHEME) else Path(text)


def _check_options(*, output: Path | None, threshold: float | None, batch_size: int) -> None:
    if output is not None:
        check_output(output)
    if threshold is not None and not 0 <= threshold <= 1:
        raise CommandError(f"The threshold must lie between 0 and 1, not at {threshold}.")
    if batch_size < 1:
        raise CommandError(f"The batch size must be at least 1, not {batch_size}.")


@contextmanager
def _recorded(scan: Scan, *, store: bool) -> Iterator[PredictionBatch | None]:
    """Open the batch of the scan and close it at the end; None if nothing is recorded."""
    if not (store and scan.images):
        yield None
        return
    batch = open_batch(total_images=scan.images, source=Source.SCAN)
    scan.batch_id = batch.pk
    try:
        yield batch
    finally:
        status = PredictionBatch.Status
        close_batch(batch=batch, status=status.DONE if scan.is_complete else status.FAILED)


def _reading_problem(scan: Scan) -> str | None:
    if scan.unreadable:
        return f"{len(scan.unreadable)} of {scan.images} images could not be read."
    if scan.closed:
        return f"{len(scan.closed)} folders could not be opened."
    return None
