"""The four ways to train.

- ``WholeTraining``: the whole network with a small tower, on freshly augmented pictures.
- ``HeadTraining``: the reader and the head after a frozen CLIP tower, as in the paper, on cached
  features.
- ``AdapterTraining``: adapters in the CLIP tower, the reader and the head, on freshly augmented
  pictures. The checkpoint stores features of some of these pictures.
- ``HeadTuning``: the head of a checkpoint with stored features, on new pictures alone.

Each strategy has:

- ``module``: the trainable part, for ``Trainer``;
- ``training(epoch)`` and ``validation()``: the batches;
- ``samples``: the samples of the validation batches, in their order;
- ``trained(best)``: the checkpoint with the best weights;
- ``val``: the samples for calibration, and ``logits(trained)``: the logits of these samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..adapters import AdaptedTower, adapters_of, merge, stacked
from ..checkpoints import Checkpoint, Features, KeptFeatures, build_network, joined
from ..dataset import Sample
from ..detector import Detector
from ..network import D3Network, with_module
from ..runtime import cpu_has_bf16
from .augmentation import Augmentation, residual_augmentation, web_augmentation
from .features import cached_features, feature_batches, head_logits, read_features, row_logits
from .loop import Batch
from .pictures import Pictures, picture_batches
from .sampling import (
    balanced_batches,
    epoch_seed,
    in_batches,
    paired_batches,
    spread_over_sources,
)

VARIANTS = 4  # of a training picture; each epoch draws one of them
EPOCH_PICTURES = 2048  # of adapter training; a state is saved after each epoch
KEPT_TRAINING, KEPT_VALIDATION = 2000, 1024  # pictures whose features a checkpoint stores
NEW_SHARE = 0.2  # of new pictures in a batch of head tuning
EPOCH_BATCHES = 80  # of head tuning


class WholeNetwork(nn.Module):
    """Maps views (N, 3, S, S) and permutations (K, P) to logits (N,); all weights learn."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, views: Tensor, permutations: Tensor) -> Tensor:
        return self.network(views, permutations)[..., 0].mean(dim=0)


class HeadOnly(nn.Module):
    """Maps the reader's inputs, for the shuffled and the original view, to logits (N,)."""

    def __init__(self, reader: nn.Module, attention_head: nn.Module) -> None:
        super().__init__()
        self.reader, self.attention_head = reader, attention_head

    def forward(self, shuffled: Tensor, original: Tensor) -> Tensor:
        features = [self.reader(shuffled), self.reader(original)]  # (N, C) each
        return self.attention_head(torch.stack(features, dim=1))[:, 0]


def _trainable(start: Checkpoint) -> D3Network:
    """Build the network with copies of the weights: training must not change the checkpoint."""
    copies = {name: tensor.clone() for name, tensor in start.weights.items()}
    return build_network(replace(start, weights=copies)).train().requires_grad_()


@dataclass
class Strategy:
    """What all four strategies need; ``cache`` is the folder of cached features."""

    start: Checkpoint
    train: list[Sample]
    val: list[Sample]
    batch_size: int
    seed: int
    device: torch.device
    cache: Path
    adapter_rank: int = 0

    def __post_init__(self) -> None:
        self.samples = self.val

    def cached(
        self, checkpoint: Checkpoint, samples: list[Sample], *, variants: int = 0
    ) -> Features:
        """Return the features of the checkpoint's tower."""
        return cached_features(
            checkpoint, samples, folder=self.cache, device=self.device, variants=variants
        )

    def inputs_of_head(
        self, checkpoint: Checkpoint, samples: list[Sample], *, variants: int = 0
    ) -> Features:
        """Return the inputs of the checkpoint's head."""
        return read_features(checkpoint, self.cached(checkpoint, samples, variants=variants))


class WholeTraining(Strategy):
    """Train on augmented pictures, validate with plain ones."""

    augmentation: ClassVar[Augmentation] = staticmethod(residual_augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.module = WholeNetwork(self.network())
        self.workers = max(1, (os.cpu_count() or 1) - 1)

    def network(self) -> D3Network:
        return _trainable(self.start)

    def training(self, epoch: int) -> Iterable[Batch]:
        seed = epoch_seed(self.seed, epoch)
        pictures = Pictures(
            self.train, self.start.preprocessing, augmentation=self.augmentation, seed=seed
        )
        return self._batches(pictures, self.order(seed))

    def order(self, seed: int) -> list[list[int]]:
        return paired_batches(self.train, self.batch_size, seed)

    def validation(self) -> Iterable[Batch]:
        pictures = Pictures(self.val, self.start.preprocessing, seed=self.seed)
        return self._batches(pictures, in_batches([*range(len(self.val))], self.batch_size))

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        weights = {name.removeprefix("network."): tensor.cpu() for name, tensor in best.items()}
        return replace(self.start, weights=weights)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        """Return the logits of ``val`` over all crops, as the finished detector gives them."""
        detector = Detector(trained, device=self.device, precision="fp32")
        progress = tqdm(self.val, desc="calibration", unit="image", disable=None)
        return detector.logits(sample.path for sample in progress)

    def _batches(self, pictures: Pictures, batches: list[list[int]]) -> Iterable[Batch]:
        patches = self.start.architecture.patches
        return picture_batches(pictures, batches, patches=patches, workers=self.workers)


class HeadTraining(Strategy):
    """Train and validate on cached features."""

    def __post_init__(self) -> None:
        network = _trainable(self.start)
        self.module = HeadOnly(network.reader, network.attention_head)
        self.train_features = self.cached(self.start, self.train, variants=VARIANTS)
        self.val_features = self.cached(self.start, self.val)
        self.samples = [self.val[picture] for picture in self.val_features.pictures]

    def training(self, epoch: int) -> Iterable[Batch]:
        return feature_batches(
            self.train_features, self.batch_size, seed=epoch_seed(self.seed, epoch)
        )

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.val_features, self.batch_size)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        learned = {name: tensor.cpu() for name, tensor in best.items()}
        return replace(self.start, weights={**self.start.weights, **learned})

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, read_features(trained, self.val_features))


class AdapterTraining(WholeTraining):
    """Train adapters of a frozen CLIP tower, reader and head, in the way of ``WholeTraining``."""

    augmentation: ClassVar[Augmentation] = staticmethod(web_augmentation)

    def network(self) -> D3Network:
        network = _trainable(self.start)
        dtype = torch.bfloat16 if self.device.type != "cpu" or cpu_has_bf16() else torch.float32
        tower = AdaptedTower(network.tower, self.adapter_rank, dtype)
        return with_module(network, "tower", tower)

    def order(self, seed: int) -> list[list[int]]:
        batches = EPOCH_PICTURES // self.batch_size
        return balanced_batches(self.train, self.batch_size, seed, batches=batches)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        best = {name.removeprefix("network."): tensor.cpu() for name, tensor in best.items()}
        adapters = adapters_of(best, "tower.")
        merged = merge(self.start.weights, adapters, prefix="tower.")
        rest = {name: tensor for name, tensor in best.items() if not name.startswith("tower.")}
        adapters = stacked(self.start.adapters, adapters)
        return replace(self.start, weights=merged | rest, adapters=adapters)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, self.inputs_of_head(trained, self.val))

    def kept(self, trained: Checkpoint) -> KeptFeatures:
        """Return the features of some of the pictures, to be stored in the checkpoint."""
        train = spread_over_sources(self.train, KEPT_TRAINING, seed=self.seed)
        val = spread_over_sources(self.val, KEPT_VALIDATION, seed=self.seed)
        return KeptFeatures(
            train=self.inputs_of_head(trained, train, variants=1),
            val=self.inputs_of_head(trained, val),
        )


class HeadTuning(HeadTraining):
    """Train the head alone, on new pictures and the stored features.

    The targets are the labels of the new pictures, and for the stored features the head's earlier
    scores, so that the head changes as little as possible (Li and Hoiem, "Learning without
    Forgetting", ECCV 2016). Without a validation split, validation uses the stored validation
    features and the training pictures; calibration uses the stored validation features alone.
    """

    def __post_init__(self) -> None:
        start, kept = self.start, self.start.kept
        self.module = HeadOnly(nn.Identity(), _trainable(start).attention_head)
        crops = self.inputs_of_head(start, self.train)
        self.new = joined(crops, self.inputs_of_head(start, self.train, variants=VARIANTS))
        self.kept = joined(kept.train, kept.val)
        self.scores = torch.from_numpy(row_logits(start, self.kept)).sigmoid()
        if self.val:
            self.calibration = self.val_features = joined(
                kept.val, self.inputs_of_head(start, self.val)
            )
        else:
            self.calibration, self.val_features = kept.val, joined(kept.val, crops)
        self.val = _as_samples(self.calibration)
        pictures = _as_samples(self.val_features)
        self.samples = [pictures[picture] for picture in self.val_features.pictures]

    def training(self, epoch: int) -> Iterable[Batch]:
        """Yield batches with a fixed share of new pictures, in equal parts of their classes."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        labels = self.new.labels[self.new.pictures]
        weights = 1 / torch.bincount(labels)[labels]
        count = max(1, round(self.batch_size * NEW_SHARE))
        for _ in range(EPOCH_BATCHES):
            new = torch.multinomial(weights, count, replacement=True, generator=generator)
            kept = torch.randint(len(self.scores), (self.batch_size - count,), generator=generator)
            views = torch.cat([self.kept.views[kept], self.new.views[new]]).float()
            yield views.unbind(dim=1), torch.cat([self.scores[kept], labels[new].float()])

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, self.calibration)


def _as_samples(features: Features) -> list[Sample]:
    """Return samples without files, for metrics by class and source."""
    pairs = zip(features.sources.tolist(), features.labels.tolist(), strict=True)
    return [Sample(Path(), f"source {source}", label) for source, label in pairs]
