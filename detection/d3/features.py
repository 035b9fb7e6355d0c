"""Features of a frozen tower, computed once and kept on disk.

A frozen tower says the same of the same view, so each picture goes through it once per variant
instead of once per epoch. A variant is one augmentation with one shuffle; training pictures have
``VARIANTS`` of them, of which each epoch draws one, validation pictures a single plain one.

One small file per picture, named by the picture's content: an interrupted run goes on where it
stopped, and other runs with the same tower share the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .augmentation import clip_augmentation
from .checkpoints import Checkpoint, draw_permutations
from .dataset import Sample
from .decoding import DecodedImage, decode_image
from .network import D3Network

VARIANTS = 4
RECIPE = 1  # raise it when augmentation or shuffle change, so that old files are not read


@dataclass(frozen=True, slots=True)
class Features:
    """``views`` (N, V, 2, C) float32, shuffled first, for V variants; ``labels`` (N,)."""

    views: Tensor
    labels: Tensor


def cached_features(
    checkpoint: Checkpoint,
    network: D3Network,
    samples: list[Sample],
    *,
    folder: Path,
    augmented: bool,
) -> Features:
    """Read each sample's features from ``folder``, or compute them on the network's device."""
    folder = folder / _tower_key(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    views = [
        _load_or_compute(checkpoint, network, sample, folder=folder, augmented=augmented)
        for sample in tqdm(samples, desc="features", unit="image")
    ]
    labels = torch.tensor([float(sample.label) for sample in samples])
    return Features(torch.from_numpy(np.stack(views)), labels)


def feature_batches(
    features: Features, batch_size: int, *, seed: int | None = None
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """((shuffled (B, C), original (B, C)), labels (B,)); with a seed, in random order."""
    count, variants = features.views.shape[:2]
    order, chosen = torch.arange(count), torch.zeros(count, dtype=torch.long)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=generator)
        chosen = torch.randint(variants, (count,), generator=generator)
    for indices in order.split(batch_size):
        views = features.views[indices, chosen[indices]]  # (B, 2, C)
        yield (views[:, 0], views[:, 1]), features.labels[indices]


def _load_or_compute(
    checkpoint: Checkpoint, network: D3Network, sample: Sample, *, folder: Path, augmented: bool
) -> np.ndarray:
    image = decode_image(sample.path)
    kind = "augmented" if augmented else "plain"
    path = folder / f"{image.sha256}-{kind}.npy"
    if path.exists():
        return np.load(path)
    views = _compute(checkpoint, network, image, augmented=augmented)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, views)
    partial.replace(path)
    return views


@torch.inference_mode()
def _compute(
    checkpoint: Checkpoint, network: D3Network, image: DecodedImage, *, augmented: bool
) -> np.ndarray:
    """(V, 2, C) float32, or (1, 2, C) of the plain picture under the checkpoint's first shuffle."""
    device = next(network.parameters()).device
    pairs = []
    for picture, permutation in _variants(checkpoint, image, augmented=augmented):
        view = checkpoint.preprocessing(picture).to(device)
        shuffled, original = network.features(view, torch.tensor([permutation], device=device))
        pairs.append(torch.stack([shuffled[0, 0], original[0]]))
    return torch.stack(pairs).float().cpu().numpy()


def _variants(checkpoint: Checkpoint, image: DecodedImage, *, augmented: bool) -> Iterable:
    patches = checkpoint.architecture.patches
    if not augmented:
        return [(image.pixels, draw_permutations(checkpoint.permutation_seed, 1, patches)[0])]
    random = Random(image.sha256)
    return [
        (clip_augmentation(image.pixels, random), random.sample(range(patches), patches))
        for _ in range(VARIANTS)
    ]


def _tower_key(checkpoint: Checkpoint) -> str:
    digest = hashlib.sha256(f"{RECIPE} {checkpoint.preprocessing}".encode())
    for name, tensor in sorted(checkpoint.weights.items()):
        if name.startswith("tower."):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:16]
