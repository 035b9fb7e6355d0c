"""``manage.py make_fakes DATASET OUTPUT``: widen a train split with generators of our own."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from detection.d3.errors import D3Error


class Command(BaseCommand):
    help = (
        "Train small autoencoders of random design on the real pictures of DATASET/train, and "
        "write their reconstructions beside the originals to OUTPUT/train/own-NN."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dataset", type=Path)
        parser.add_argument("output", type=Path)
        parser.add_argument("--generators", type=int, default=16)
        parser.add_argument("--pictures", type=int, default=120, help="pairs per generator")
        parser.add_argument("--steps", type=int, default=1000, help="training steps per generator")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        from detection.d3.generators import write_pairs

        progress = tqdm(range(options["generators"]), desc="generators", unit="generator")
        try:
            for index in progress:
                config = write_pairs(
                    options["dataset"],
                    options["output"],
                    index=index,
                    count=options["pictures"],
                    steps=options["steps"],
                    seed=options["seed"],
                )
                self.stdout.write(f"own-{index:02d}: {config}")
        except D3Error as error:
            raise CommandError(str(error)) from error
