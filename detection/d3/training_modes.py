"""The three ways to train: the whole network, a head on a frozen tower, adapters in the tower.

Each has ``module`` (what learns, as ``trainer`` takes it), ``training(epoch)`` and
``validation()`` (batches), ``samples`` (those of the validation, in its order), ``trained(best)``
(the checkpoint with the best weights) and ``logits(trained)`` of the validation pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .adapters import AdaptedTower, adapters_of, merge
from .augmentation import Augmentation, residual_augmentation, web_augmentation
from .checkpoints import Checkpoint, build_network
from .dataset import Sample
from .detector import Detector
from .features import cached_features, feature_batches, head_logits, read_features
from .kept_features import (
    TRAINING_PICTURES,
    VALIDATION_PICTURES,
    Features,
    KeptFeatures,
    spread,
)
from .network import D3Network
from .pictures import Pictures, picture_batches
from .precision import cpu_has_bf16
from .trainer import Batch, balanced_batches, epoch_seed, paired_batches

VARIANTS = 4  # of a training picture, of which each epoch draws one
EPOCH_PICTURES = 2048  # drawn for one epoch of adapters, so that a state is saved often


class WholeNetwork(nn.Module):
    """Views (N, 3, S, S) and permutations (K, P) to logits (N,): everything learns."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, views: Tensor, permutations: Tensor) -> Tensor:
        return self.network(views, permutations)[..., 0].mean(dim=0)


class HeadOnly(nn.Module):
    """What the tower says of the shuffled and of the original view to logits (N,)."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.reader, self.attention_head = network.reader, network.attention_head

    def forward(self, shuffled: Tensor, original: Tensor) -> Tensor:
        features = [self.reader(shuffled), self.reader(original)]  # (N, C) each
        return self.attention_head(torch.stack(features, dim=1))[:, 0]


def _trainable(start: Checkpoint) -> D3Network:
    """The network with copies of the weights: learning must not change the checkpoint."""
    copies = {name: tensor.clone() for name, tensor in start.weights.items()}
    return build_network(replace(start, weights=copies)).train().requires_grad_()


class WholeNetworkData:
    """Augmented pictures for training, plain ones for validation."""

    augmentation: Augmentation = staticmethod(residual_augmentation)

    def __init__(
        self,
        start: Checkpoint,
        train: list[Sample],
        val: list[Sample],
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.start, self.train, self.val = start, train, val
        self.samples = val
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.module = WholeNetwork(self.network(start))
        self.workers = max(1, (os.cpu_count() or 1) - 1)

    def network(self, start: Checkpoint) -> D3Network:
        return _trainable(start)

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
        order = list(range(len(self.val)))
        size = self.batch_size
        return self._batches(pictures, [order[i : i + size] for i in range(0, len(order), size)])

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        weights = {name.removeprefix("network."): tensor.cpu() for name, tensor in best.items()}
        return replace(self.start, weights=weights)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        """As the finished detector judges the pictures, with all their crops."""
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
        device: torch.device,
        *,
        cache: Path,
    ) -> None:
        self.start = start
        self.network = _trainable(start)
        self.module = HeadOnly(self.network)
        cached = partial(cached_features, start, folder=cache, device=device)
        self.train, self.val = cached(train, variants=VARIANTS), cached(val)
        self.samples = [val[picture] for picture in self.val.pictures]
        self.batch_size, self.seed = batch_size, seed

    def training(self, epoch: int) -> Iterable[Batch]:
        return feature_batches(self.train, self.batch_size, seed=epoch_seed(self.seed, epoch))

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.val, self.batch_size)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        learned = {name: tensor.cpu() for name, tensor in best.items()}
        return replace(self.start, weights={**self.start.weights, **learned})

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, read_features(trained, self.val))


class AdapterData(WholeNetworkData):
    """The same for a CLIP tower that stays as it is but for its adapters."""

    augmentation: Augmentation = staticmethod(web_augmentation)

    def __init__(self, *args: Any, rank: int, cache: Path) -> None:
        self.rank, self.cache = rank, cache
        super().__init__(*args)

    def network(self, start: Checkpoint) -> D3Network:
        network = _trainable(start)
        dtype = torch.bfloat16 if self.device.type != "cpu" or cpu_has_bf16() else torch.float32
        return network.with_tower(AdaptedTower(network.tower, self.rank, dtype))

    def order(self, seed: int) -> list[list[int]]:
        batches = EPOCH_PICTURES // self.batch_size
        return balanced_batches(self.train, self.batch_size, seed, batches=batches)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        best = {name.removeprefix("network."): tensor.cpu() for name, tensor in best.items()}
        adapters = adapters_of(best, "tower.")
        tower = {
            name.removeprefix("tower."): tensor
            for name, tensor in self.start.weights.items()
            if name.startswith("tower.")
        }
        merged = {f"tower.{name}": tensor for name, tensor in merge(tower, adapters).items()}
        rest = {name: tensor for name, tensor in best.items() if not name.startswith("tower.")}
        return replace(self.start, weights={**merged, **rest}, adapters=adapters)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, self._features(trained, self.val))

    def kept(self, trained: Checkpoint) -> KeptFeatures:
        """Of a sample of the pictures, to travel with the checkpoint."""
        train = spread(self.train, TRAINING_PICTURES, seed=self.seed)
        val = spread(self.val, VALIDATION_PICTURES, seed=self.seed)
        return KeptFeatures(
            train=self._features(trained, train, variants=1), val=self._features(trained, val)
        )

    def _features(
        self, trained: Checkpoint, samples: list[Sample], *, variants: int = 0
    ) -> Features:
        """What the head gets of the pictures."""
        features = cached_features(
            trained, samples, folder=self.cache, device=self.device, variants=variants
        )
        return read_features(trained, features)
