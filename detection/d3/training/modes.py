"""The ways to train: the whole network; what comes after a frozen tower; adapters in the tower with
that; the head alone, among kept features.

Each has ``module`` (what learns, as ``trainer`` takes it), ``training(epoch)`` and
``validation()`` (batches), ``samples`` (those of the validation, in its order), ``trained(best)``
(the checkpoint with the best weights), ``val`` (the pictures that it is calibrated on) and their
``logits(trained)``.
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

from ..adapters import AdaptedTower, adapters_of, merge, stacked
from ..checkpoints.checkpoint import Checkpoint, build_network
from ..checkpoints.kept_features import (
    TRAINING_PICTURES,
    VALIDATION_PICTURES,
    Features,
    KeptFeatures,
    joined,
    spread,
)
from ..detector import Detector
from ..network import D3Network
from ..runtime.precision import cpu_has_bf16
from .augmentation import Augmentation, residual_augmentation, web_augmentation
from .dataset import Sample
from .features import cached_features, feature_batches, head_logits, read_features, row_logits
from .pictures import Pictures, picture_batches
from .trainer import Batch, balanced_batches, epoch_seed, paired_batches

VARIANTS = 4  # of a training picture, of which each epoch draws one
EPOCH_PICTURES = 2048  # drawn for one epoch of adapters, so that a state is saved often
NEW_SHARE = 0.2  # of a batch of kept features
EPOCH_BATCHES = 80  # of kept features


class WholeNetwork(nn.Module):
    """Views (N, 3, S, S) and permutations (K, P) to logits (N,): everything learns."""

    def __init__(self, network: D3Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, views: Tensor, permutations: Tensor) -> Tensor:
        return self.network(views, permutations)[..., 0].mean(dim=0)


class HeadOnly(nn.Module):
    """What the reader gets of the shuffled and of the original view to logits (N,)."""

    def __init__(self, reader: nn.Module, attention_head: nn.Module) -> None:
        super().__init__()
        self.reader, self.attention_head = reader, attention_head

    def forward(self, shuffled: Tensor, original: Tensor) -> Tensor:
        features = [self.reader(shuffled), self.reader(original)]  # (N, C) each
        return self.attention_head(torch.stack(features, dim=1))[:, 0]


def _trainable(start: Checkpoint) -> D3Network:
    """The network with copies of the weights: learning must not change the checkpoint."""
    copies = {name: tensor.clone() for name, tensor in start.weights.items()}
    return build_network(replace(start, weights=copies)).train().requires_grad_()


def _with_learned(start: Checkpoint, best: dict[str, Tensor]) -> Checkpoint:
    learned = {name: tensor.cpu() for name, tensor in best.items()}
    return replace(start, weights={**start.weights, **learned})


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
        self.start, self.val = start, val
        network = _trainable(start)
        self.module = HeadOnly(network.reader, network.attention_head)
        cached = partial(cached_features, start, folder=cache, device=device)
        self.train_features, self.val_features = cached(train, variants=VARIANTS), cached(val)
        self.samples = [val[picture] for picture in self.val_features.pictures]
        self.batch_size, self.seed = batch_size, seed

    def training(self, epoch: int) -> Iterable[Batch]:
        return feature_batches(
            self.train_features, self.batch_size, seed=epoch_seed(self.seed, epoch)
        )

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.val_features, self.batch_size)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        return _with_learned(self.start, best)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, read_features(trained, self.val_features))


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
        adapters = stacked(self.start.adapters, adapters)
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


class HeadTuningData:
    """New pictures among the features that the checkpoint kept, for the head alone.

    The head learns the labels of the new pictures. Of the kept ones it learns what it said of them
    before, so that it changes no more than it must (Li and Hoiem, "Learning without Forgetting",
    ECCV 2016). A DATASET without a validation split is validated by its training pictures, beside
    the kept ones; then only these calibrate.
    """

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
        self.start, self.batch_size, self.seed = start, batch_size, seed
        self.module = HeadOnly(nn.Identity(), _trainable(start).attention_head)

        def features(samples: list[Sample], *, variants: int = 0) -> Features:
            options = {"folder": cache, "device": device, "variants": variants}
            return read_features(start, cached_features(start, samples, **options))

        crops = features(train)
        self.new = joined(crops, features(train, variants=VARIANTS))
        self.kept = joined(start.kept.train, start.kept.val)
        self.scores = torch.from_numpy(row_logits(start, self.kept)).sigmoid()
        self.judged = joined(start.kept.val, features(val)) if val else start.kept.val
        self.validated = self.judged if val else joined(start.kept.val, crops)
        self.val = _as_samples(self.judged)
        pictures = _as_samples(self.validated)
        self.samples = [pictures[picture] for picture in self.validated.pictures]

    def training(self, epoch: int) -> Iterable[Batch]:
        """In each batch a part are new pictures, of both classes alike where there are both."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        labels = self.new.labels[self.new.pictures]
        weights = 1 / torch.bincount(labels)[labels]
        count = max(1, round(self.batch_size * NEW_SHARE))
        for _ in range(EPOCH_BATCHES):
            new = torch.multinomial(weights, count, replacement=True, generator=generator)
            kept = torch.randint(len(self.scores), (self.batch_size - count,), generator=generator)
            views = torch.cat([self.kept.views[kept], self.new.views[new]]).float()
            yield views.unbind(dim=1), torch.cat([self.scores[kept], labels[new].float()])

    def validation(self) -> Iterable[Batch]:
        return feature_batches(self.validated, self.batch_size)

    def trained(self, best: dict[str, Tensor]) -> Checkpoint:
        return _with_learned(self.start, best)

    def logits(self, trained: Checkpoint) -> np.ndarray:
        return head_logits(trained, self.judged)


def _as_samples(features: Features) -> list[Sample]:
    """Samples without files, for what counts by class and source."""
    pairs = zip(features.sources.tolist(), features.labels.tolist(), strict=True)
    return [Sample(Path(), f"source {source}", label) for source, label in pairs]
