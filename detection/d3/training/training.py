"""From a folder of labelled pictures to a checkpoint.

A small tower is trained whole, on freshly augmented pictures. A CLIP tower stays frozen, as in the
paper: what it says of the two views of a picture is computed once and kept on disk
(``features.py``), and only what comes after the tower is trained. Or it gets adapters
(``adapters.py``), which are trained with that on freshly augmented pictures; the checkpoint then
keeps features of some of them. A checkpoint with kept features (``kept_features.py``) is trained
further on new pictures alone, and only its head is.
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

from ..checkpoints.checkpoint import Checkpoint, save
from ..detector import find_device
from ..errors import ImageError
from ..network import ARCHITECTURES, ClipTowerConfig, D3Network
from ..preprocessing import PREPROCESSINGS
from ..runtime.memory import TRAINING, keep_freed_memory
from .calibration import calibrate
from .dataset import CLASS_FOLDERS, SPLITS, DatasetError, Sample, scan_dataset
from .modes import AdapterData, HeadOnlyData, HeadTuningData, WholeNetworkData
from .pictures import readable
from .trainer import EpochMetrics, Schedule, Trainer, auc, source_means

PERMUTATIONS = 1  # averaged at inference; the model card has what more of them would bring


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run made, for the command to report."""

    checkpoint: Checkpoint
    unreadable: list[tuple[Sample, ImageError]]


def untrained(architecture: str, *, seed: int) -> Checkpoint:
    """Random weights from the seed for one of ``ARCHITECTURES``."""
    torch.manual_seed(seed)
    return Checkpoint(
        name=f"d3-{architecture}",
        architecture=ARCHITECTURES[architecture],
        preprocessing=PREPROCESSINGS[architecture],
        permutation_seed=seed,
        permutations=PERMUTATIONS,
        weights=D3Network(ARCHITECTURES[architecture]).state_dict(),
    )


def tunes_head(start: Checkpoint, adapter_rank: int) -> bool:
    """Whether new pictures change the head alone, among features that ``start`` keeps."""
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

    A root that is named several times counts as often in training: so a handful of pictures weighs
    something among thousands. The validation splits are those that the roots have; at least one
    must, unless ``start`` keeps features. With an ``adapter_rank`` a CLIP tower gets adapters of
    that rank. ``folder`` is the run folder: metrics.csv, curves.png, command.txt, unreadable.txt,
    state.pt.

    Raises DatasetError, TrainingError, and D3Error for a device that is not there.
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

    keep_freed_memory(TRAINING)
    cache = folder.parent / "features"
    common = (start, train, val, batch_size, schedule.seed, place)
    if adapter_rank:
        data = AdapterData(*common, rank=adapter_rank, cache=cache)
    elif tuned:
        data = HeadTuningData(*common, cache=cache)
    elif isinstance(start.architecture.tower, ClipTowerConfig):
        data = HeadOnlyData(*common, cache=cache)
    else:
        data = WholeNetworkData(*common)
    run = _identity(start, schedule, batch_size, adapter_rank, train, val)
    trainer = Trainer(data.module, schedule, folder, place, run)
    if resume:
        trainer.resume()
    else:
        trainer.start_anew()
    trainer.fit(data.training, data.validation, data.samples, on_epoch)

    trained = replace(
        data.trained(trainer.best_weights),
        training={
            "commands": commands,
            "started_from": {"version": start.version, **start.training},
            "datasets": [
                root.name if times == 1 else f"{root.name} ×{times}"
                for root, times in Counter(roots).items()
            ],
            "train_pictures": len(train),
            "val_pictures": len(data.val),
            "schedule": asdict(schedule),
            "batch_size": batch_size,
            "adapter_rank": adapter_rank,
            "epochs": len(trainer.history),
            "best_epoch": trainer.best.epoch + 1,
            "torch": torch.__version__,
        },
    )
    checkpoint = _calibrated(trained, data.val, data.logits(trained))
    if adapter_rank:
        checkpoint = replace(checkpoint, kept=data.kept(trained))
    save(checkpoint, output)
    return TrainingResult(checkpoint, unreadable)


def _calibrated(checkpoint: Checkpoint, val: list[Sample], logits: np.ndarray) -> Checkpoint:
    """Threshold, band and temperature from what the detector says of the validation split.

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
    """The samples of roots that are named more than once, once more for each further time.

    Each copy is a pair of its own, so that it is augmented in its own way and lies elsewhere in
    an epoch.
    """
    return [
        replace(sample, pair=f"{sample.pair} {copy}")
        for root, times in Counter(roots).items()
        for copy in range(2, times + 1)
        for sample in train
        if sample.path.is_relative_to(root)
    ]


def _collect(roots: list[Path], split: str) -> list[Sample]:
    """The split of every root that has it, of each once. Raises DatasetError for a typo."""
    roots = list(dict.fromkeys(roots))
    for root in roots:
        if not any((root / name).is_dir() for name in SPLITS):
            raise DatasetError(f"{root} is no image set: it has none of {', '.join(SPLITS)}.")
    having = [root for root in roots if (root / split).is_dir()]
    return [sample for root in having for sample in scan_dataset(root, split)]


def _read_split(
    roots: list[Path], split: str, *, classes: int
) -> tuple[list[Sample], list[tuple[Sample, ImageError]]]:
    """The readable samples, of so many ``classes`` at least, and the others with the reason."""
    samples, unreadable = readable(_collect(roots, split))
    if len({sample.label for sample in samples}) < classes:
        needed = (
            " or ".join(CLASS_FOLDERS) if classes == 1 else f"both {' and '.join(CLASS_FOLDERS)}"
        )
        raise DatasetError(f"The {split} split needs readable pictures of {needed}.")
    return samples, unreadable


def _record(path: Path, command: str, *, anew: bool) -> list[str]:
    """Add the command to those of the run, and give them all."""
    earlier = [] if anew or not path.exists() else path.read_text(encoding="utf-8").splitlines()
    commands = [*earlier, command]
    _write_lines(path, commands)
    return commands


def _write_lines(path: Path, lines: list[str]) -> None:
    """File names need not be valid Unicode; a list of them must not fail for it."""
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
    """What must be the same for a run to be resumed; it may be given more epochs."""
    options = {**asdict(schedule), "epochs": None, "batch_size": batch_size}
    options["adapter_rank"] = adapter_rank
    pictures = [f"{sample.pair} {sample.label}" for sample in (*train, *val)]
    digest = hashlib.sha256("\n".join(pictures).encode(errors="backslashreplace")).hexdigest()
    return json.dumps({"start": start.version, **options, "pictures": digest})
