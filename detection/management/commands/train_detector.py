"""``manage.py train_detector DATASET --output F``: from labelled pictures to a checkpoint."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.d3.errors import D3Error
from detection.management.arguments import positive_float, positive_int

# (batch size, learning rate): the paper's for the large tower; a small one learns faster
DEFAULTS = {"tiny": (32, 2e-3), "vit-l-14": (64, 1e-4)}


class Command(BaseCommand):
    help = "Train a detector on folders {train,val}/{source}/{0_real,1_fake} of pictures."
    requires_system_checks = []  # it makes the checkpoint that the checks would miss

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dataset", nargs="+", type=Path, help="train splits are joined")
        parser.add_argument("--output", required=True, type=Path, help="the checkpoint to write")
        parser.add_argument("--architecture", choices=sorted(DEFAULTS), default="tiny")
        parser.add_argument("--clip-weights", help="CLIP tower of vit-l-14: a file, URL or openai")
        parser.add_argument("--init-from", type=Path, help="checkpoint to start from")
        parser.add_argument("--epochs", type=positive_int, default=40)
        parser.add_argument("--batch-size", type=positive_int)
        parser.add_argument("--learning-rate", type=positive_float)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--device", default="auto")
        parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")

    def handle(self, *args: Any, **options: Any) -> None:
        from detection.d3.trainer import Schedule
        from detection.d3.training import train_detector

        architecture = options["architecture"]
        batch_size, learning_rate = DEFAULTS[architecture]
        schedule = Schedule(
            epochs=options["epochs"],
            learning_rate=options["learning_rate"] or learning_rate,
            seed=options["seed"],
        )
        output = options["output"]
        folder = Path("runs") / output.stem
        try:
            result = train_detector(
                roots=options["dataset"],
                start=replace(self._start(options), name=output.stem),
                output=output,
                folder=folder,
                schedule=schedule,
                batch_size=options["batch_size"] or batch_size,
                command=shlex.join(["manage.py", *sys.argv[1:]]),
                device=options["device"],
                resume=options["resume"],
            )
        except D3Error as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted; --resume goes on from {folder}.") from None
        for sample, error in result.unreadable:
            self.stderr.write(f"skipped {sample.path}: {error}")
        checkpoint = result.checkpoint
        self.stdout.write(
            f"{output}: {checkpoint.name} {checkpoint.version} after {result.epochs} epochs, "
            f"validation AUC {checkpoint.metrics['val']['auc']:.3f}, "
            f"threshold {checkpoint.threshold:.3f}. The run is in {folder}."
        )

    def _start(self, options: dict[str, Any]) -> Any:
        from detection.d3.checkpoints import load
        from detection.d3.foreign import untrained_head
        from detection.d3.training import untrained

        if options["init_from"]:
            return load(options["init_from"], clip_weights=options["clip_weights"])
        if options["architecture"] == "tiny":
            return untrained("tiny", seed=options["seed"])
        if not options["clip_weights"]:
            raise CommandError("The architecture vit-l-14 needs --clip-weights or --init-from.")
        return untrained_head(options["clip_weights"], seed=options["seed"])
