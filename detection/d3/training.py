"""From a folder of labelled pictures to a checkpoint.

Two modes. A small tower is trained whole, on freshly augmented pictures. A CLIP tower stays
frozen, as in the paper: the features of its two views are computed once and kept on disk
(``features.py``), and only the attention head is trained on them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from .augmentation import residual_augmentation
from .calibration import calibrate
from .checkpoints import Checkpoint, build_network, save
from .dataset import DatasetError, Sample, scan_dataset
from .detector import Detector, find_device
from .errors import ImageError
from .features import cached_features, feature_batches
from .network import ARCHITECTURES, ClipTowerConfig, D3Network
from .pictures import Pictures, picture_batches, readable
from .preprocessing import PREPROCESSINGS
from .trainer import Batch, Schedule, Trainer, keep_freed_memory, paired_batches, source_means

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
) -> TrainingResult:
    """Train ``start`` on the train splits of ``roots``, calibrate it, and save it to ``output``.

    The validation splits are those that the roots have; at least one must. ``folder`` is the run
    folder: metrics.csv, curves.png, command.txt, unreadable.txt, state.pt. Raises DatasetError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "command.txt").write_text(command + "\n")
    train, broken = readable(_collect(roots, "train"))
    val, broken_val = readable(_collect(roots, "val"))
    unreadable = broken + broken_val
    _write_unreadable(folder / "unreadable.txt", unreadable)
    for split, samples in (("train", train), ("val", val)):
        _check_classes(split, samples)

    place = find_device(device)
    keep_freed_memory()
    if isinstance(start.architecture.tower, ClipTowerConfig):
        cache = folder.parent / "features"
        data = HeadOnlyData(start, train, val, batch_size, schedule.seed, cache, place)
    else:
        data = WholeNetworkData(start, train, val, batch_size, schedule.seed)
    trainer = Trainer(data.module, schedule, folder, place)
    if resume:
        trainer.resume()
    trainer.fit(data.training, data.validation, val)

    trained = replace(
        start,
        weights=data.weights(trainer.best_weights),
        training=_provenance(trainer, roots, train, val, schedule, batch_size, command),
    )
    checkpoint = _calibrated(trained, val, place)
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


class WholeNetworkData:
    """Augmented pictures for training, plain ones for validation."""

    def __init__(
        self, start: Checkpoint, train: list[Sample], val: list[Sample], batch_size: int, seed: int
    ) -> None:
        self.module = WholeNetwork(build_network(start).train().requires_grad_())
        self.start, self.train, self.val = start, train, val
        self.batch_size, self.seed = batch_size, seed
        self.workers = max(1, (os.cpu_count() or 1) - 1)

    def training(self, epoch: int) -> Iterable[Batch]:
        seed = _epoch_seed(self.seed, epoch)
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
        self.network = build_network(start)
        self.module = HeadOnly(self.network).train().requires_grad_()
        cached = partial(cached_features, start, self.network.to(device).eval(), folder=cache)
        self.train = cached(train, augmented=True)
        self.val = cached(val, augmented=False)
        self.batch_size, self.seed = batch_size, seed

    def training(self, epoch: int) -> Iterable[Batch]:
        return feature_batches(self.train, self.batch_size, seed=_epoch_seed(self.seed, epoch))

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.val, self.batch_size)

    def weights(self, best: dict[str, Tensor]) -> dict[str, Tensor]:
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        return {**state, **{name: tensor.cpu() for name, tensor in best.items()}}


def _calibrated(checkpoint: Checkpoint, val: list[Sample], device: torch.device) -> Checkpoint:
    """Fit threshold, band and temperature on what the detector itself says of the split."""
    detector = Detector(checkpoint, device=device, precision="fp32")
    logits = detector.logits(sample.path for sample in val)
    labels = np.array([sample.label for sample in val])
    fitted = calibrate(logits, labels)
    return replace(
        checkpoint,
        temperature=fitted.temperature,
        threshold=fitted.threshold,
        uncertain=fitted.uncertain,
        metrics={"val": {"auc": source_means(roc_auc_score, val, logits), "pictures": len(val)}},
    )


def _collect(roots: list[Path], split: str) -> list[Sample]:
    """The split of every root that has it; the first one's error when none has."""
    having = [root for root in roots if (root / split).is_dir()] or roots[:1]
    return [sample for root in having for sample in scan_dataset(root, split)]


def _check_classes(split: str, samples: list[Sample]) -> None:
    labels = {sample.label for sample in samples}
    if len(labels) < 2:
        raise DatasetError(f"The {split} split needs readable pictures of both 0_real and 1_fake.")


def _write_unreadable(path: Path, unreadable: list[tuple[Sample, ImageError]]) -> None:
    path.write_text("".join(f"{sample.path}\t{error}\n" for sample, error in unreadable))


def _provenance(
    trainer: Trainer,
    roots: list[Path],
    train: list[Sample],
    val: list[Sample],
    schedule: Schedule,
    batch_size: int,
    command: str,
) -> dict[str, Any]:
    return {
        "command": command,
        "datasets": [root.name for root in roots],
        "train_pictures": len(train),
        "val_pictures": len(val),
        "schedule": asdict(schedule),
        "batch_size": batch_size,
        "epochs": len(trainer.history),
        "best_epoch": trainer.best.epoch + 1 if trainer.best else None,
        "torch": torch.__version__,
    }


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch
