from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from detection.d3.errors import D3Error, DatasetError
from detection.management.arguments import positive_int
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = (
        "Trains small autoencoders of random design on the real pictures of DATASET/train, and "
        "writes the originals and their reconstructions to OUTPUT/train/own-NN-UPSAMPLER."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", type=Path, help="a data set with real pictures")
        parser.add_argument("output", type=Path, help="the data set to write")
        parser.add_argument(
            "--generators",
            type=positive_int,
            default=16,
            help="number of autoencoders; default: 16",
        )
        parser.add_argument(
            "--pictures",
            type=positive_int,
            default=120,
            help="pairs of pictures per autoencoder; default: 120",
        )
        parser.add_argument(
            "--steps",
            type=positive_int,
            default=1000,
            help="training steps per autoencoder; default: 1000",
        )
        parser.add_argument(
            "--seed", type=int, default=0, help="seed of every random choice; default: 0"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        numbers = range(options["generators"])
        for index in self.progress_bar(numbers, desc="generators", unit="generator"):
            try:
                self.stdout.write(f"own-{index:02d}: {self._write_pairs(index, options)}")
            except DatasetError:  # no other generator can be trained either
                raise
            except D3Error as error:
                self.stderr.write(f"own-{index:02d} is left out. {error}")

    def _write_pairs(self, index: int, options: dict[str, Any]) -> Any:
        from detection.workbench.generators import write_pairs

        return write_pairs(
            options["dataset"],
            options["output"],
            index=index,
            count=options["pictures"],
            steps=options["steps"],
            seed=options["seed"],
        )
