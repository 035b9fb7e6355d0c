from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from detection.judging import active_checkpoint, load_detector
from detection.management.base import ServiceCommand
from detection.management.interrupts import sigterm_interrupts


class Command(ServiceCommand):
    help = (
        "Measures how fast this computer judges images, by stage and by batch size, and compares "
        "that with the plain way (fp32, a pass for each view, one step after the other) and with "
        "the fastest matrix product. Uses the configured database and storage, and deletes every "
        "record and file that it wrote."
    )
    requires_system_checks = []  # an unusable checkpoint is one sentence of the command
    interrupted = "Interrupted; all records and files of the benchmark were deleted."
    names_cause = True
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
        parser.add_argument(
            "--checkpoint", type=Path, help="the detector; default: the active checkpoint"
        )
        parser.add_argument("--device", help="auto, cpu, cuda or cuda:n; default: DEVICE")
        parser.add_argument(
            "--previous",
            type=Path,
            metavar="F",
            help="compare with the JSON of an earlier run, stored in F",
        )

    def handle(
        self,
        *args: Any,
        json: bool,
        checkpoint: Path | None,
        device: str | None,
        previous: Path | None,
        **options: Any,
    ) -> None:
        # Imported here: PyTorch takes seconds, and --help does not need it.
        from detection.workbench.benchmark import as_json, measure, read_previous, table

        earlier = read_previous(previous) if previous else None
        with sigterm_interrupts():
            detector = load_detector(checkpoint or active_checkpoint(), device=device)
            result = measure(detector)
        self.stdout.write(as_json(result, earlier) if json else table(result, earlier))
