from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from detection.d3 import checkpoints
from detection.management.arguments import add_trust
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = "Converts a published D³ checkpoint into one self-contained safetensors file."
    requires_system_checks = []  # needs neither the database nor the configured checkpoint

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            type=Path,
            help="an attention head, or a whole model with its CLIP tower",
        )
        parser.add_argument(
            "--clip-weights",
            default=settings.CLIP_WEIGHTS,
            metavar="W",
            help="CLIP for an attention head: a file, an address with #sha256=, or the word openai "
            "to download it; default: CLIP_WEIGHTS",
        )
        parser.add_argument(
            "--output", type=Path, required=True, metavar="F", help="the file to write"
        )
        add_trust(parser)
        parser.add_argument(
            "--permutations",
            type=_permutations,
            metavar="N",
            help="average N shuffles of each image; default: the number in the checkpoint, or 1",
        )

    def handle(
        self,
        *args: Any,
        source: Path,
        clip_weights: str | None,
        output: Path,
        trust_torchscript: bool,
        permutations: int | None,
        **options: Any,
    ) -> None:
        checkpoint = checkpoints.load(
            source,
            clip_weights=clip_weights,
            clip_cache=settings.CLIP_CACHE,
            trust_torchscript=trust_torchscript,
        )
        if permutations:
            checkpoint = replace(checkpoint, permutations=permutations)
        checkpoints.save(checkpoint, output)
        parameters = sum(p.numel() for p in checkpoints.build_network(checkpoint).parameters())
        self.stdout.write(
            f"{output}: {checkpoint.name}, version {checkpoint.version}, {parameters:,} "
            f"parameters, permutations averaged: {checkpoint.permutations}, "
            f"{output.stat().st_size / 2**20:,.1f} MiB"
        )


def _permutations(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= checkpoints.MAX_PERMUTATIONS):
        raise ArgumentTypeError(
            f"{text!r} is not a number from 1 to {checkpoints.MAX_PERMUTATIONS}"
        )
    return int(text)
