from __future__ import annotations

import shlex
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from detection.d3.files import reason
from detection.judging import active_checkpoint, load_detector
from detection.management.arguments import add_dataset
from detection.management.base import ServiceCommand

if TYPE_CHECKING:
    from detection.d3.evaluation import Evaluation


class Command(ServiceCommand):
    help = "Measures a detector on labelled images, unchanged and perturbed."
    requires_system_checks = []  # needs neither the database nor the configured checkpoint
    interrupted = "Interrupted; no report was written."

    def add_arguments(self, parser: CommandParser) -> None:
        add_dataset(parser)
        parser.add_argument(
            "--perturb",
            nargs="+",
            default=[],
            metavar="KIND=AMOUNTS",
            help="measure perturbed images too: jpeg=90,70 webp=80 screenshot=85 blur=1,2 "
            "resize=0.5,0.75",
        )
        parser.add_argument(
            "--checkpoint", type=Path, help="the detector; default: the active checkpoint"
        )
        parser.add_argument(
            "--output", type=Path, help="folder of the report; default: runs/evaluation-TIME"
        )
        parser.add_argument(
            "--record",
            action="store_true",
            help="store the measurement of the unchanged images in the checkpoint, for the "
            "explanation of a score; replaces an earlier measurement",
        )

    def handle(
        self,
        *args: Any,
        dataset: Path,
        split: str,
        perturb: list[str],
        checkpoint: Path | None,
        output: Path | None,
        record: bool,
        **options: Any,
    ) -> None:
        # Imported here: PyTorch and matplotlib take seconds, and --help needs neither.
        from detection.d3 import evaluation
        from detection.d3.dataset import scan_dataset

        perturbations = evaluation.parse_perturbations(perturb)
        samples = scan_dataset(dataset, split)
        path = checkpoint or active_checkpoint()
        detector = load_detector(path)
        if record:
            evaluation.check_recordable(path, detector.info.version, samples)
        folder = output or Path("runs", f"evaluation-{timezone.now():%Y%m%d-%H%M%S}")
        _make_folder(folder)

        start = time.perf_counter()
        measured = evaluation.evaluate(
            detector=detector,
            samples=self.progress_bar(samples, unit="image"),
            perturbations=perturbations,
        )
        occasion = evaluation.Occasion(
            dataset=dataset,
            split=split,
            command=shlex.join(["python", "manage.py", *sys.argv[1:]]),
            finished_at=timezone.now(),
            seconds=time.perf_counter() - start,
        )
        evaluation.write_report(evaluation=measured, occasion=occasion, folder=folder)
        self._print(measured)
        self.stdout.write(f"\nReport: {folder / evaluation.HTML_NAME}")
        if record:
            name = dataset.resolve().name
            evaluation.record_evaluation(measured, dataset=name, split=split, path=path)
            self.stdout.write(f"Recorded in {path}.")

    def _print(self, measured: Evaluation) -> None:
        from detection.d3 import evaluation

        for each in measured.unreadable:
            self.stderr.write(f"{each.sample.path}: {each.reason}")
        self.stdout.write(evaluation.metrics_table(measured.clean))
        if notes := evaluation.table_notes(measured.clean):
            self.stdout.write(f"\n{textwrap.fill(notes, 80)}")
        self.stdout.write(f"\n{evaluation.pooled_table(measured.conditions)}")
        if len(measured.conditions) > 1:
            self.stdout.write(f"\n{evaluation.robustness_table(measured.conditions)}")


def _make_folder(folder: Path) -> None:
    """Make the folder of the report before the work. Raises CommandError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"The folder {folder} cannot be made: {reason(error)}.") from error
