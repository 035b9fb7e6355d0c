from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from detection.judging import active_checkpoint, load_detector
from detection.management.arguments import positive_int
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = (
        "Measures whether the evidence map names the places that count: masks the most important"
        " fifth of each image, and a random one, and compares what that does to the logit."
    )
    requires_system_checks = []  # it says itself what is wrong with a checkpoint
    interrupted = "Interrupted; nothing was measured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "dataset",
            type=Path,
            help="a folder with {train,val,test}/SOURCE/{0_real,1_fake}, the source being optional",
        )
        parser.add_argument("--split", default="test", help="default: test")
        parser.add_argument("--checkpoint", type=Path, help="default: the active one")
        parser.add_argument(
            "--limit", type=positive_int, help="so many images, drawn at random; default: all"
        )
        parser.add_argument(
            "--seed", type=int, default=0, help="of everything that is drawn; default: 0"
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
        from detection.d3.training.dataset import scan_dataset
        from detection.workbench.faithfulness import (
            compare,
            comparison_table,
            draw_samples,
            measure_faithfulness,
        )

        samples = draw_samples(scan_dataset(dataset, split), limit, seed=seed)
        detector = load_detector(checkpoint or active_checkpoint())
        measured = measure_faithfulness(
            detector=detector,
            samples=self.progress_bar(samples, unit="image"),
            seed=seed,
        )
        for each in measured.unreadable:
            self.stderr.write(f"{each.sample.path}: {each.reason}")
        self.stdout.write(comparison_table(compare(measured, seed=seed)))
        self.stdout.write(
            f"\n{detector.info.name} {detector.info.version}, seed {seed}."
            " Movements of the logit towards 0, medians with 95 % intervals."
        )
