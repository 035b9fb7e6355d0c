"""A training run, from a folder of labelled pictures to a calibrated checkpoint.

``strategies.py`` has the four ways to train.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import Checkpoint, save
from ..dataset import CLASS_FOLDERS, SPLITS, Sample, scan_dataset
from ..detector import find_device
from ..errors import DatasetError, ImageError
from ..network import ClipTowerConfig
from ..runtime import TRAINING, reuse_freed_memory
from .calibration import calibrate
from .loop import EpochMetrics, Schedule, Trainer
from .pictures import readable
from .strategies import AdapterTraining, HeadTraining, HeadTuning, Strategy, WholeTraining
from .validation import auc, source_means


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A run's checkpoint, and the pictures that could not be read."""

    checkpoint: Checkpoint
    unreadable: list[tuple[Sample, ImageError]]


def tunes_head(start: Checkpoint, adapter_rank: int) -> bool:
    """Return whether training changes the head alone, with the stored features of ``start``."""
    return start.kept is not None and not adapter_rank


def train_detector(
    *,
    roots: list[Path],
    start: Checkpoint,
    output: Path,
    folder: Path,
    schedule: Schedule,
    batch_size: int,
    command: str,
    adapter_rank: int = 0,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> TrainingResult:
    """Train ``start`` on the train splits of ``roots``, calibrate it, and save it to ``output``.

    A repeated root counts repeatedly in training, which gives a few pictures weight among
    thousands. At least one root must have a validation split, unless ``start`` has stored features.
    With an ``adapter_rank`` a CLIP tower gets adapters of that rank. ``folder`` is the run folder,
    for metrics.csv, curves.png, command.txt, unreadable.txt and state.pt.

    Raises DatasetError, TrainingError, and D3Error for a missing device.
    """
    place = find_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    commands = _record(folder / "command.txt", command, anew=not resume)
    tuned = tunes_head(start, adapter_rank)
    train, broken = _read_split(roots, "train", classes=1 if tuned else 2)
    val, broken_val = _read_split(roots, "val", classes=0 if tuned else 2)
    train += _copies(roots, train)
    unreadable = broken + broken_val
    _write_lines(folder / "unreadable.txt", [f"{s.path}\t{error}" for s, error in unreadable])

    reuse_freed_memory(TRAINING)
    strategy = _strategy(start, adapter_rank)(
        start=start,
        train=train,
        val=val,
        batch_size=batch_size,
        seed=schedule.seed,
        device=place,
        cache=folder.parent / "features",
        adapter_rank=adapter_rank,
    )
    run = _identity(start, schedule, batch_size, adapter_rank, train, val)
    trainer = Trainer(strategy.module, schedule, folder, place, run)
    if resume:
        trainer.resume()
    else:
        trainer.state_path.unlink(missing_ok=True)  # of an earlier run
    trainer.fit(strategy.training, strategy.validation, strategy.samples, on_epoch)

    record = {
        "commands": commands,
        "started_from": {"version": start.version, **start.training},
        "datasets": [
            root.name if times == 1 else f"{root.name} ×{times}"
            for root, times in Counter(roots).items()
        ],
        "train_pictures": len(train),
        "val_pictures": len(strategy.val),
        "schedule": asdict(schedule),
        "batch_size": batch_size,
        "adapter_rank": adapter_rank,
        "epochs": len(trainer.history),
        "best_epoch": trainer.best.epoch + 1,
        "torch": torch.__version__,
    }
    trained = replace(strategy.trained(trainer.best_weights), training=record)
    checkpoint = _calibrated(trained, strategy.val, strategy.logits(trained))
    if adapter_rank:
        checkpoint = replace(checkpoint, kept=strategy.kept(trained))
    save(checkpoint, output)
    return TrainingResult(checkpoint, unreadable)


def _strategy(start: Checkpoint, adapter_rank: int) -> type[Strategy]:
    if adapter_rank:
        return AdapterTraining
    if tunes_head(start, adapter_rank):
        return HeadTuning
    return HeadTraining if isinstance(start.architecture.tower, ClipTowerConfig) else WholeTraining


def _calibrated(checkpoint: Checkpoint, val: list[Sample], logits: np.ndarray) -> Checkpoint:
    """Set threshold, band and temperature by the detector's logits of the validation split.

    The offset of the logits becomes part of the head.
    """
    fitted = calibrate(logits, np.array([sample.label for sample in val]))
    bias = checkpoint.weights["attention_head.fc.bias"].clone()
    bias[0] += fitted.offset
    return replace(
        checkpoint,
        weights={**checkpoint.weights, "attention_head.fc.bias": bias},
        temperature=fitted.temperature,
        threshold=fitted.threshold,
        uncertain=fitted.uncertain,
        metrics={"val": {"auc": source_means(auc, val, logits), "pictures": len(val)}},
    )


def _copies(roots: list[Path], train: list[Sample]) -> list[Sample]:
    """Return the samples of repeated roots, once for each repetition.

    Each copy is a pair of its own, so that it has its own augmentation and place in an epoch.
    """
    return [
        replace(sample, pair=f"{sample.pair} {copy}")
        for root, times in Counter(roots).items()
        for copy in range(2, times + 1)
        for sample in train
        if sample.path.is_relative_to(root)
    ]


def _collect(roots: list[Path], split: str) -> list[Sample]:
    """List the samples of a split in all roots that have it.

    Raises DatasetError for a root without any split.
    """
    roots = list(dict.fromkeys(roots))
    for root in roots:
        if not any((root / name).is_dir() for name in SPLITS):
            raise DatasetError(f"{root} is not a data set: it has none of {', '.join(SPLITS)}.")
    having = [root for root in roots if (root / split).is_dir()]
    return [sample for root in having for sample in scan_dataset(root, split)]


def _read_split(
    roots: list[Path], split: str, *, classes: int
) -> tuple[list[Sample], list[tuple[Sample, ImageError]]]:
    """Return the readable samples, and the others with their errors.

    Raises DatasetError if the readable samples are of fewer than ``classes`` classes.
    """
    samples, unreadable = readable(_collect(roots, split))
    if len({sample.label for sample in samples}) < classes:
        needed = (
            " or ".join(CLASS_FOLDERS) if classes == 1 else f"both {' and '.join(CLASS_FOLDERS)}"
        )
        raise DatasetError(f"The {split} split needs readable pictures of {needed}.")
    return samples, unreadable


def _record(path: Path, command: str, *, anew: bool) -> list[str]:
    """Append the command to those of the run, and return all of them."""
    earlier = [] if anew or not path.exists() else path.read_text(encoding="utf-8").splitlines()
    commands = [*earlier, command]
    _write_lines(path, commands)
    return commands


def _write_lines(path: Path, lines: list[str]) -> None:
    """Write the lines, whose file names need not be valid Unicode."""
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _identity(
    start: Checkpoint,
    schedule: Schedule,
    batch_size: int,
    adapter_rank: int,
    train: list[Sample],
    val: list[Sample],
) -> str:
    """Return as JSON what must not change when a run is resumed: all options but the epochs."""
    options = {**asdict(schedule), "epochs": None, "batch_size": batch_size}
    options["adapter_rank"] = adapter_rank
    pictures = [f"{sample.pair} {sample.label}" for sample in (*train, *val)]
    digest = hashlib.sha256("\n".join(pictures).encode(errors="backslashreplace")).hexdigest()
    return json.dumps({"start": start.version, **options, "pictures": digest})
