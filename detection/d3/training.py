"""From a folder of labelled pictures to a checkpoint.

Two modes. A small tower is trained whole, on freshly augmented pictures. A CLIP tower stays
frozen, as in the paper: the features of its two views are computed once and kept on disk
(``features.py``), and only the attention head is trained on them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .augmentation import residual_augmentation
from .calibration import calibrate
from .checkpoints import Checkpoint, build_network, save
from .dataset import SPLITS, DatasetError, Sample, scan_dataset
from .detector import Detector, find_device
from .errors import ImageError
from .features import cached_features, feature_batches
from .memory import TRAINING, keep_freed_memory
from .network import ARCHITECTURES, ClipTowerConfig, D3Network
from .pictures import Pictures, picture_batches, readable
from .preprocessing import PREPROCESSINGS
from .trainer import (
    Batch,
    EpochMetrics,
    Schedule,
    Trainer,
    auc,
    epoch_seed,
    paired_batches,
    source_means,
)

PERMUTATIONS = 1  # averaged at inference; the model card has what more of them would bring


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run made, for the command to report."""

    checkpoint: Checkpoint
    unreadable: list[tuple[Sample, ImageError]]
    epochs: int


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


def train_detector(
    *,
    roots: list[Path],
    start: Checkpoint,
    output: Path,
    folder: Path,
    schedule: Schedule,
    batch_size: int,
    command: str,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> TrainingResult:
    """Train ``start`` on the train splits of ``roots``, calibrate it, and save it to ``output``.

    A root that is named several times counts as often in training: so a handful of pictures weighs
    something among thousands. The validation splits are those that the roots have; at least one
    must. ``folder`` is the run folder: metrics.csv, curves.png, command.txt, unreadable.txt,
    state.pt.

    Raises DatasetError, TrainingError, and D3Error for a device that is not there.
    """
    place = find_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    commands = _record(folder / "command.txt", command, anew=not resume)
    train, broken = _read_split(roots, "train")
    val, broken_val = _read_split(roots, "val")
    train += _copies(roots, train)
    unreadable = broken + broken_val
    _write_lines(folder / "unreadable.txt", [f"{s.path}\t{error}" for s, error in unreadable])

    keep_freed_memory(TRAINING)
    if isinstance(start.architecture.tower, ClipTowerConfig):
        cache = folder.parent / "features"
        data = HeadOnlyData(start, train, val, batch_size, schedule.seed, cache, place)
    else:
        data = WholeNetworkData(start, train, val, batch_size, schedule.seed, place)
    run = _identity(start, schedule, batch_size, train, val)
    trainer = Trainer(data.module, schedule, folder, place, run)
    if resume:
        trainer.resume()
    else:
        trainer.start_anew()
    trainer.fit(data.training, data.validation, val, on_epoch)

    trained = replace(
        start,
        weights=data.weights(trainer.best_weights),
        training={
            "commands": commands,
            "started_from": {"version": start.version, **start.training},
            "datasets": [
                root.name if times == 1 else f"{root.name} ×{times}"
                for root, times in Counter(roots).items()
            ],
            "train_pictures": len(train),
            "val_pictures": len(val),
            "schedule": asdict(schedule),
            "batch_size": batch_size,
            "epochs": len(trainer.history),
            "best_epoch": trainer.best.epoch + 1,
            "torch": torch.__version__,
        },
    )
    checkpoint = _calibrated(trained, val, data.logits(trained))
    save(checkpoint, output)
    return TrainingResult(checkpoint, unreadable, len(trainer.history))


class WholeNetwork(nn.Module):
    """Views (N, 3, S, S) and permutations (K, P) to logits (N,): everything learns."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, views: Tensor, permutations: Tensor) -> Tensor:
        return self.network(views, permutations)[..., 0].mean(dim=0)


class HeadOnly(nn.Module):
    """Features of the shuffled and of the original view, each (N, C), to logits (N,)."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.attention_head = network.attention_head

    def forward(self, shuffled: Tensor, original: Tensor) -> Tensor:
        return self.attention_head(torch.stack([shuffled, original], dim=1))[:, 0]


def _trainable(start: Checkpoint) -> D3Network:
    """The network with copies of the weights: learning must not change the checkpoint."""
    copies = {name: tensor.clone() for name, tensor in start.weights.items()}
    return build_network(replace(start, weights=copies)).train().requires_grad_()


class WholeNetworkData:
    """Augmented pictures for training, plain ones for validation."""

    def __init__(
        self,
        start: Checkpoint,
        train: list[Sample],
        val: list[Sample],
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.module = WholeNetwork(_trainable(start))
        self.start, self.train, self.val = start, train, val
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.workers = max(1, (os.cpu_count() or 1) - 1)

    def training(self, epoch: int) -> Iterable[Batch]:
        seed = epoch_seed(self.seed, epoch)
        pictures = Pictures(
            self.train, self.start.preprocessing, augmentation=residual_augmentation, seed=seed
        )
        return self._batches(pictures, paired_batches(self.train, self.batch_size, seed))

    def validation(self) -> Iterable[Batch]:
        pictures = Pictures(self.val, self.start.preprocessing, seed=self.seed)
        order = list(range(len(self.val)))
        size = self.batch_size
        return self._batches(pictures, [order[i : i + size] for i in range(0, len(order), size)])

    def weights(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("network."): tensor.cpu() for name, tensor in best.items()}

    def logits(self, trained: Checkpoint) -> np.ndarray:
        detector = Detector(trained, device=self.device, precision="fp32")
        progress = tqdm(self.val, desc="calibration", unit="image", disable=None)
        return detector.logits(sample.path for sample in progress)

    def _batches(self, pictures: Pictures, batches: list[list[int]]) -> Iterable[Batch]:
        patches = self.start.architecture.patches
        return picture_batches(pictures, batches, patches=patches, workers=self.workers)


class HeadOnlyData:
    """Features from the cache, for training and validation."""

    def __init__(
        self,
        start: Checkpoint,
        train: list[Sample],
        val: list[Sample],
        batch_size: int,
        seed: int,
        cache: Path,
        device: torch.device,
    ) -> None:
        self.network = _trainable(start)
        self.module = HeadOnly(self.network)
        cached = partial(cached_features, start, self.network.to(device).eval(), folder=cache)
        self.train = cached(train, augmented=True)
        self.val = cached(val, augmented=False)
        self.batch_size, self.seed = batch_size, seed

    def training(self, epoch: int) -> Iterable[Batch]:
        return feature_batches(self.train, self.batch_size, seed=epoch_seed(self.seed, epoch))

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.val, self.batch_size)

    def weights(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        return {**state, **{name: tensor.cpu() for name, tensor in best.items()}}

    @torch.inference_mode()
    def logits(self, trained: Checkpoint) -> np.ndarray:
        """Of the plain views under the first shuffle, without going through the tower again."""
        shuffled, original = self.val.views[:, 0].unbind(dim=1)
        return build_network(trained).classify(shuffled[None], original)[0, :, 0].numpy()


def _calibrated(checkpoint: Checkpoint, val: list[Sample], logits: np.ndarray) -> Checkpoint:
    """Threshold, band and temperature from what the detector says of the validation split."""
    fitted = calibrate(logits, np.array([sample.label for sample in val]))
    return replace(
        checkpoint,
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
    """The split of every root that has it, of each once. Raises DatasetError when none has, or for
    a typo.
    """
    roots = list(dict.fromkeys(roots))
    for root in roots:
        if not any((root / name).is_dir() for name in SPLITS):
            raise DatasetError(f"{root} is no image set: it has none of {', '.join(SPLITS)}.")
    having = [root for root in roots if (root / split).is_dir()] or roots[:1]
    return [sample for root in having for sample in scan_dataset(root, split)]


def _read_split(
    roots: list[Path], split: str
) -> tuple[list[Sample], list[tuple[Sample, ImageError]]]:
    """The readable samples, of both classes, and the others with the reason."""
    samples, unreadable = readable(_collect(roots, split))
    if len({sample.label for sample in samples}) < 2:
        raise DatasetError(f"The {split} split needs readable pictures of both 0_real and 1_fake.")
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
    start: Checkpoint, schedule: Schedule, batch_size: int, train: list[Sample], val: list[Sample]
) -> str:
    """What must be the same for a run to be resumed; it may be given more epochs."""
    options = {**asdict(schedule), "epochs": None, "batch_size": batch_size}
    pictures = [f"{sample.pair} {sample.label}" for sample in (*train, *val)]
    digest = hashlib.sha256("\n".join(pictures).encode(errors="backslashreplace")).hexdigest()
    return json.dumps({"start": start.version, **options, "pictures": digest})
