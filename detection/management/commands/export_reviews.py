from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from detection.errors import UnavailableError
from detection.management.arguments import moment, share
from detection.management.base import INTERRUPTED, SOME_LOST, ServiceCommand
from detection.models import Label
from detection.review import VAL_SHARE, ReviewExport


class Command(ServiceCommand):
    help = (
        "Writes the originals of reviewed predictions and a manifest.csv into a folder for "
        "training, sorted by the reviewers' labels. In the folder of an earlier export, "
        "pictures that no longer belong to it are removed. Of several reviews of the same bytes, "
        "the latest counts. Exit code: 0 when all originals are exported, 2 when some are lost, 1 "
        "after any other error."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder", type=Path, metavar="OUT", help="a new folder, or that of an earlier export"
        )
        parser.add_argument(
            "--since",
            type=moment,
            metavar="DATE",
            help="only reviews since DATE, like 2026-11-22 or 2026-11-22T12:00:00Z",
        )
        parser.add_argument(
            "--val-share",
            type=share,
            default=VAL_SHARE,
            metavar="S",
            help=f"share of the pictures for validation, 0 to 1; default: {VAL_SHARE}",
        )

    def handle(
        self, *args: Any, folder: Path, since: datetime | None, val_share: float, **options: Any
    ) -> None:
        export = ReviewExport(folder, since, val_share, on_lost=self.stderr.write)
        try:
            export.run()
        except (UnavailableError, KeyboardInterrupt) as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            reason = "Interrupted." if interrupted else str(error)
            raise CommandError(
                f"{reason} {export.pictures.total()} pictures are exported; "
                "the same command exports the rest.",
                returncode=INTERRUPTED if interrupted else 1,
            ) from error
        self._print(export)
        if export.lost:
            sentence = f"{export.lost} originals are lost; all other pictures are exported."
            raise CommandError(sentence, returncode=SOME_LOST)

    def _print(self, export: ReviewExport) -> None:
        figures = ", ".join(
            f"{export.pictures['train', label]} {label} for training and "
            f"{export.pictures['val', label]} for validation"
            for label in Label.values
        )
        self.stdout.write(
            f"{export.folder}: {export.pictures.total()} pictures, {figures}. "
            f"{export.new} are new; {export.removed} were removed."
        )
        if export.contradicted:
            self.stdout.write(
                f"{export.contradicted} pictures have contradicting reviews; the latest counts."
            )
        if export.changed:
            self.stdout.write(
                f"{export.changed} predictions were left out: reviewed again or deleted during the "
                "export. Export again."
            )
