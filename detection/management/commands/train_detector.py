"""``manage.py train_detector DATASET --output F``: from labelled pictures to a checkpoint."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from detection.d3.checkpoints.tower_file import CLIP_VIT_B_16
from detection.management.arguments import positive_float, positive_int
from detection.management.base import ServiceCommand

if TYPE_CHECKING:
    from detection.d3.checkpoints.checkpoint import Checkpoint
    from detection.d3.training.trainer import EpochMetrics, Schedule
    from detection.d3.training.training import TrainingResult

CLIP_ARCHITECTURES = ("vit-b-16", "vit-l-14")
# By kind of tower: the paper's for CLIP; a small one learns faster, and so does a head among kept
# features, which do not let it forget however long it learns.
DEFAULTS = {
    "residual": {"batch_size": 32, "learning_rate": 2e-3, "epochs": 40, "patience": 3},
    "clip": {"batch_size": 64, "learning_rate": 1e-4, "epochs": 40, "patience": 3},
    "kept": {"batch_size": 64, "learning_rate": 1e-3, "epochs": 12, "patience": None},
}


class Command(ServiceCommand):
    help = (
        "Train a detector on folders {train,val}/{source}/{0_real,1_fake} of pictures, the source "
        "level being optional. The run folder is runs/NAME, after the name of the output."
    )
    requires_system_checks = []  # it makes the checkpoint that the checks would miss

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", nargs="+", type=Path, help="several are joined")
        parser.add_argument(
            "--output", required=True, type=Path, help="the checkpoint to write, or to replace"
        )
        parser.add_argument(
            "--architecture",
            choices=("tiny", *CLIP_ARCHITECTURES),
            help="of a new detector; default: tiny",
        )
        parser.add_argument(
            "--clip-weights",
            help="frozen tower: a file, an address or openai; default for vit-b-16: the one that "
            "manage.py fetch_clip stored",
        )
        parser.add_argument(
            "--trust-torchscript",
            action="store_true",
            help="take CLIP weights in a TorchScript archive that OpenAI did not publish",
        )
        parser.add_argument(
            "--init-from",
            type=Path,
            help="checkpoint to start from; of one that keeps features only the head is trained, "
            "unless there are --adapters",
        )
        parser.add_argument(
            "--repeat-last",
            type=positive_int,
            default=1,
            metavar="N",
            help="the last dataset counts N times in training: a few pictures among thousands",
        )
        parser.add_argument(
            "--adapters",
            type=positive_int,
            default=0,
            metavar="RANK",
            help="train low-rank adapters of a CLIP tower too, beside the head; 8 is usual",
        )
        parser.add_argument(
            "--epochs",
            type=positive_int,
            help="at most; default: 40; among kept features: 12",
        )
        parser.add_argument("--batch-size", type=positive_int, help="default: 32; with CLIP: 64")
        parser.add_argument(
            "--learning-rate",
            type=positive_float,
            help="default: 0.002; with CLIP: 0.0001; among kept features: 0.001",
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
        parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")

    def handle(self, *args: Any, **options: Any) -> None:
        from detection.d3.training.training import train_detector

        folder = Path("runs") / options["output"].stem
        self.interrupted = f"Interrupted; --resume goes on with the run in {folder}."
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


def _start(options: dict[str, Any]) -> Checkpoint:
    """The weights to begin with. Raises CheckpointError and CommandError."""
    from detection.d3.checkpoints.checkpoint import load
    from detection.d3.checkpoints.published import untrained_head
    from detection.d3.training.training import untrained

    source, clip_weights = options["init_from"], options["clip_weights"]
    trust = options["trust_torchscript"]
    if source:
        if options["architecture"]:
            raise CommandError("--init-from brings its own architecture; leave --architecture out.")
        return load(
            source,
            clip_weights=clip_weights,
            clip_cache=settings.CLIP_CACHE,
            trust_torchscript=trust,
        )
    if (architecture := options["architecture"]) in CLIP_ARCHITECTURES:
        return untrained_head(
            clip_weights or _fetched_tower(architecture),
            architecture=architecture,
            seed=options["seed"],
            trust_torchscript=trust,
        )
    if clip_weights:
        raise CommandError("--clip-weights are for --init-from or an --architecture with CLIP.")
    return untrained("tiny", seed=options["seed"])


def _fetched_tower(architecture: str) -> Path:
    """The tower that fetch_clip stored. Raises CommandError."""
    if architecture != "vit-b-16":
        raise CommandError(f"The architecture {architecture} needs --clip-weights or --init-from.")
    path = CLIP_VIT_B_16.path(settings.CLIP_CACHE)
    if not CLIP_VIT_B_16.is_in(settings.CLIP_CACHE):
        raise CommandError(f"There is no {path}; manage.py fetch_clip downloads it.")
    return path


def _schedule(options: dict[str, Any], start: Checkpoint) -> tuple[int, Schedule]:
    """Batch size and schedule."""
    from detection.d3.training.trainer import Schedule
    from detection.d3.training.training import tunes_head

    kind = start.architecture.tower.kind
    if tunes_head(start, options["adapters"]):
        kind = "kept"
    chosen = {name: options[name] for name in ("batch_size", "learning_rate", "epochs")}
    values = DEFAULTS[kind] | {name: value for name, value in chosen.items() if value}
    return values.pop("batch_size"), Schedule(**values, seed=options["seed"])
