from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from detection.judging import active_checkpoint, load_detector
from detection.management.arguments import add_dataset, positive_int
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = (
        "Measures whether the evidence map marks the decisive places: masks the most important "
        "fifth of each image, then a random fifth, and compares the change of the logit."
    )
    requires_system_checks = []  # an unusable checkpoint is one sentence of the command
    interrupted = "Interrupted; nothing was measured."

    def add_arguments(self, parser: CommandParser) -> None:
        add_dataset(parser)
        parser.add_argument(
            "--checkpoint", type=Path, help="the detector; default: the active checkpoint"
        )
        parser.add_argument(
            "--limit",
            type=positive_int,
            metavar="N",
            help="measure N images, drawn at random; default: all",
        )
        parser.add_argument(
            "--seed", type=int, default=0, help="seed of every random choice; default: 0"
        )

    def handle(
        self,
        *args: Any,
        dataset: Path,
        split: str,
        checkpoint: Path | None,
        limit: int | None,
        seed: int,
        **options: Any,
    ) -> None:
        # Imported here: PyTorch takes seconds, and --help does not need it.
        from detection.d3.dataset import scan_dataset
        from detection.workbench import faithfulness

        samples = faithfulness.draw_samples(scan_dataset(dataset, split), limit, seed=seed)
        detector = load_detector(checkpoint or active_checkpoint())
        measured = faithfulness.measure_faithfulness(
            detector=detector,
            samples=self.progress_bar(samples, unit="image"),
            seed=seed,
        )
        for each in measured.unreadable:
            self.stderr.write(f"{each.sample.path}: {each.reason}")
        compared = faithfulness.compare(measured, seed=seed)
        self.stdout.write(faithfulness.comparison_table(compared))
        self.stdout.write(
            f"\n{detector.info.name} {detector.info.version}, seed {seed}."
            " Movements of the logit towards 0, medians with 95 % intervals."
        )
