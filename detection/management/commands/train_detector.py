from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from detection.d3 import checkpoints
from detection.d3.checkpoints import CLIP_VIT_B_16
from detection.management.arguments import add_trust, positive_float, positive_int
from detection.management.base import ServiceCommand

if TYPE_CHECKING:
    from detection.d3.training import EpochMetrics, Schedule, TrainingResult

CLIP_ARCHITECTURES = ("vit-b-16", "vit-l-14")
# The values of CLIP are the paper's. A small tower learns faster, and so does the head of a
# checkpoint with stored features, which prevent the head from forgetting.
DEFAULTS = {
    "residual": {"batch_size": 32, "learning_rate": 2e-3, "epochs": 40, "patience": 3},
    "clip": {"batch_size": 64, "learning_rate": 1e-4, "epochs": 40, "patience": 3},
    "stored features": {"batch_size": 64, "learning_rate": 1e-3, "epochs": 12, "patience": None},
}


class Command(ServiceCommand):
    help = (
        "Trains a detector on pictures in {train,val}/SOURCE/{0_real,1_fake}; SOURCE may be left "
        "out. The run folder is runs/NAME, where NAME is that of the output."
    )
    requires_system_checks = []  # the checks would miss the checkpoint

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "dataset",
            nargs="+",
            type=Path,
            help="a data set (see docs/engine.md); several are joined",
        )
        parser.add_argument(
            "--output", required=True, type=Path, help="the checkpoint to write, or to replace"
        )
        parser.add_argument(
            "--architecture",
            choices=("tiny", *CLIP_ARCHITECTURES),
            help="architecture of a new detector; default: tiny",
        )
        parser.add_argument(
            "--clip-weights",
            help="weights of the frozen tower: a file, an address or the word openai; default for "
            "vit-b-16: the tower that fetch_clip stored",
        )
        add_trust(parser)
        parser.add_argument(
            "--init-from",
            type=Path,
            help="checkpoint to start from; without --adapters, only the head of a checkpoint with "
            "stored features is trained",
        )
        parser.add_argument(
            "--repeat-last",
            type=positive_int,
            default=1,
            metavar="N",
            help="count the last data set N times in training, for a few pictures among thousands",
        )
        parser.add_argument(
            "--adapters",
            type=positive_int,
            default=0,
            metavar="RANK",
            help="train the head and low-rank adapters of a CLIP tower; 8 is usual",
        )
        parser.add_argument(
            "--epochs",
            type=positive_int,
            help="epochs at most; default: 40; with stored features: 12",
        )
        parser.add_argument(
            "--batch-size", type=positive_int, help="images per step; default: 32; with CLIP: 64"
        )
        parser.add_argument(
            "--learning-rate",
            type=positive_float,
            help="default: 0.002; with CLIP: 0.0001; with stored features: 0.001",
        )
        parser.add_argument(
            "--seed", type=int, default=0, help="seed of every random choice; default: 0"
        )
        parser.add_argument(
            "--device", default="auto", help="auto, cpu, cuda or cuda:n; default: auto"
        )
        parser.add_argument("--resume", action="store_true", help="continue an interrupted run")

    def handle(self, *args: Any, **options: Any) -> None:
        from detection.d3.training import train_detector

        folder = Path("runs") / options["output"].stem
        self.interrupted = f"Interrupted; --resume continues the run in {folder}."
        *others, last = options["dataset"]
        start = replace(_start(options), name=options["output"].stem)
        batch_size, schedule = _schedule(options, start)
        result = train_detector(
            roots=[*others, *[last] * options["repeat_last"]],
            start=start,
            output=options["output"],
            folder=folder,
            schedule=schedule,
            batch_size=batch_size,
            command=shlex.join(["manage.py", *sys.argv[1:]]),
            adapter_rank=options["adapters"],
            device=options["device"],
            resume=options["resume"],
            on_epoch=self._print_epoch,
        )
        self._print_result(result, options["output"], folder)

    def _print_epoch(self, metrics: EpochMetrics) -> None:
        self.stdout.write(
            f"epoch {metrics.epoch + 1}: loss {metrics.train_loss:.3f}; validation: loss "
            f"{metrics.val_loss:.3f}, accuracy {metrics.val_accuracy:.3f}, "
            f"AUC {metrics.val_auc:.3f}"
        )

    def _print_result(self, result: TrainingResult, output: Path, folder: Path) -> None:
        for sample, error in result.unreadable:
            self.stderr.write(f"skipped {sample.path}: {error}")
        checkpoint, training = result.checkpoint, result.checkpoint.training
        self.stdout.write(
            f"{output}: {checkpoint.name} {checkpoint.version}, with the weights of epoch "
            f"{training['best_epoch']} of {training['epochs']}; in validation, on all crops: AUC "
            f"{checkpoint.metrics['val']['auc']:.3f}, threshold {checkpoint.threshold:.3f}. "
            f"The run is in {folder}."
        )


def _start(options: dict[str, Any]) -> checkpoints.Checkpoint:
    """Return the weights to start from. Raises CheckpointError and CommandError."""
    source, clip_weights = options["init_from"], options["clip_weights"]
    trust = options["trust_torchscript"]
    if source:
        if options["architecture"]:
            raise CommandError("--init-from has its own architecture; leave --architecture out.")
        return checkpoints.load(
            source,
            clip_weights=clip_weights,
            clip_cache=settings.CLIP_CACHE,
            trust_torchscript=trust,
        )
    if (architecture := options["architecture"]) in CLIP_ARCHITECTURES:
        return checkpoints.untrained_head(
            clip_weights or _fetched_tower(architecture),
            architecture=architecture,
            seed=options["seed"],
            trust_torchscript=trust,
        )
    if clip_weights:
        raise CommandError("--clip-weights are for --init-from or an --architecture with CLIP.")
    return checkpoints.untrained("tiny", seed=options["seed"])


def _fetched_tower(architecture: str) -> Path:
    """Return the tower that fetch_clip stored. Raises CommandError."""
    if architecture != "vit-b-16":
        raise CommandError(f"The architecture {architecture} needs --clip-weights or --init-from.")
    path = CLIP_VIT_B_16.path(settings.CLIP_CACHE)
    if not CLIP_VIT_B_16.is_in(settings.CLIP_CACHE):
        raise CommandError(f"There is no {path}; manage.py fetch_clip downloads it.")
    return path


def _schedule(options: dict[str, Any], start: checkpoints.Checkpoint) -> tuple[int, Schedule]:
    """Return the batch size and the schedule."""
    from detection.d3.training import Schedule, tunes_head

    kind = start.architecture.tower.kind
    if tunes_head(start, options["adapters"]):
        kind = "stored features"
    chosen = {name: options[name] for name in ("batch_size", "learning_rate", "epochs")}
    values = DEFAULTS[kind] | {name: value for name, value in chosen.items() if value}
    return values.pop("batch_size"), Schedule(**values, seed=options["seed"])
