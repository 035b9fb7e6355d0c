"""Features of a frozen tower, computed once and kept on disk.

A frozen tower says the same of the same view, so each picture goes through it once per variant
instead of once per epoch. A variant is one augmentation with one shuffle; training pictures have
``VARIANTS`` of them, of which each epoch draws one, validation pictures a single plain one.

One small file per picture, named by the picture's content: an interrupted run goes on where it
stopped, and other runs with the same tower share the work.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .augmentation import clip_augmentation, web_augmentation
from .checkpoints import Checkpoint, draw_permutations
from .dataset import Sample
from .decoding import DecodedImage, decode_image
from .network import D3Network, shuffle_patches

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
        for sample in tqdm(samples, desc="features", unit="image", disable=None)
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
    digest = hashlib.sha256(sample.path.read_bytes()).hexdigest()
    path = folder / f"{digest}-{'augmented' if augmented else 'plain'}.npy"
    if path.exists():
        return np.load(path)
    views = _compute(checkpoint, network, decode_image(sample.path), augmented=augmented)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, views)
    partial.replace(path)
    return views


@torch.inference_mode()
def _compute(
    checkpoint: Checkpoint, network: D3Network, image: DecodedImage, *, augmented: bool
) -> np.ndarray:
    """(V, 2, C) float32; one plain variant has the checkpoint's first shuffle. In one pass."""
    patch = checkpoint.architecture.shuffle_patch
    originals, shuffled = [], []
    for picture, permutation in _variants(checkpoint, image, augmented=augmented):
        view = checkpoint.preprocessing(picture)
        originals.append(view)
        shuffled.append(shuffle_patches(view, torch.tensor(permutation), patch))
    views = torch.cat([*shuffled, *originals]).to(next(network.parameters()).device)
    features = network.tower(views).float().cpu().numpy()  # (2V, C)
    return features.reshape(2, len(originals), -1).swapaxes(0, 1)


def _variants(checkpoint: Checkpoint, image: DecodedImage, *, augmented: bool) -> Iterable:
    patches = checkpoint.architecture.patches
    if not augmented:
        return [(image.pixels, draw_permutations(checkpoint.permutation_seed, 1, patches)[0])]
    random = Random(image.sha256)
    size = checkpoint.preprocessing.size
    whole = checkpoint.preprocessing.kind == "resize"
    augmentation = clip_augmentation if whole else web_augmentation
    return [
        (augmentation(image.pixels, random, size=size), random.sample(range(patches), patches))
        for _ in range(VARIANTS)
    ]


def _tower_key(checkpoint: Checkpoint) -> str:
    """Whatever the features depend on beside the picture."""
    settings = (RECIPE, VARIANTS, checkpoint.preprocessing, checkpoint.permutation_seed)
    digest = hashlib.sha256(f"{settings} {checkpoint.architecture}".encode())
    for name, tensor in sorted(checkpoint.weights.items()):
        if name.startswith("tower."):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:16]
