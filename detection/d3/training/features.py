"""A cache on disk for the features of a frozen tower.

The features of a view never change, so the tower sees each picture once per variant instead of once
per epoch. A variant is one augmentation with one shuffle. Without variants the views are those of a
detector: all crops of the picture, under the checkpoint's first shuffle.

The cache has one small file per picture, named by the picture's content, so an interrupted run
computes no features twice, and other runs with the same tower use the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints import Checkpoint, Features, build_network, draw_permutations
from ..dataset import Sample
from ..files import replacing
from ..images import DecodedImage, decode_image
from ..network import shuffle_patches
from ..prefetching import in_groups, run_ahead
from ..runtime import DTYPES, fastest_precision, inference_tower
from .augmentation import clip_augmentation, web_augmentation

RECIPE = 2  # increase it when augmentation or shuffle change, so that old files are not read
CPU_PICTURES, GPU_PICTURES = 4, 16  # in one pass through the tower
ROWS = 1024  # in one pass through the reader or the head


def cached_features(
    checkpoint: Checkpoint,
    samples: list[Sample],
    *,
    folder: Path,
    device: torch.device,
    variants: int = 0,
) -> Features:
    """Read the tower's features from ``folder``, after computing the missing ones on the device.

    With ``variants`` a picture has that many augmented rows, otherwise one row for each crop.
    """
    folder = folder / _tower_key(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_cache_path(folder, sample, variants) for sample in samples]
    missing = {path: s for path, s in zip(paths, samples, strict=True) if not path.exists()}
    if missing:
        _compute(checkpoint, missing, variants, device)
    rows = [np.load(path) for path in paths]
    names = sorted({sample.source for sample in samples})
    return Features(
        views=torch.from_numpy(np.concatenate(rows)),
        pictures=torch.arange(len(rows)).repeat_interleave(torch.tensor([*map(len, rows)])),
        labels=torch.tensor([sample.label for sample in samples]),
        sources=torch.tensor([names.index(sample.source) for sample in samples]),
    )


@torch.inference_mode()
def read_features(checkpoint: Checkpoint, features: Features) -> Features:
    """Turn the tower's features into inputs of the head, ``views`` (R, 2, C)."""
    reader = build_network(checkpoint).reader
    parts = features.views.split(ROWS)
    views = [reader(part.float().flatten(0, 1)).half().unflatten(0, (-1, 2)) for part in parts]
    return replace(features, views=torch.cat(views))


@torch.inference_mode()
def row_logits(checkpoint: Checkpoint, features: Features) -> np.ndarray:
    """Return logits of the rows, float32 (R,); ``features`` are inputs of the head."""
    head = build_network(checkpoint).attention_head
    logits = [head(part.float())[:, 0] for part in features.views.split(ROWS)]
    return torch.cat(logits).numpy()


def head_logits(checkpoint: Checkpoint, features: Features) -> np.ndarray:
    """Return logits of the pictures, float32 (N,); ``features`` are inputs of the head."""
    return features.of_pictures(torch.from_numpy(row_logits(checkpoint, features))).numpy()


def feature_batches(
    features: Features, batch_size: int, *, seed: int | None = None
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Yield ((shuffled (B, …), original (B, …)), labels (B,)), float32.

    Without a seed the batches have all rows in order; with a seed they have one random row of each
    picture, in random order.
    """
    rows = torch.arange(len(features.views))
    if seed is not None:
        rows = _one_of_each(features.pictures, torch.Generator().manual_seed(seed))
    for indices in rows.split(batch_size):
        shuffled, original = features.views[indices].float().unbind(dim=1)
        yield (shuffled, original), features.labels[features.pictures[indices]].float()


def _one_of_each(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Choose a random row of each picture, the pictures in random order."""
    counts = torch.bincount(pictures)
    chosen = (torch.rand(len(counts), generator=generator) * counts).long()
    rows = counts.cumsum(0) - counts + chosen
    return rows[torch.randperm(len(rows), generator=generator)]


def _cache_path(folder: Path, sample: Sample, variants: int) -> Path:
    digest = hashlib.sha256(sample.path.read_bytes()).hexdigest()
    return folder / f"{digest}-{f'augmented-{variants}' if variants else 'crops'}.npy"


def _compute(
    checkpoint: Checkpoint, missing: dict[Path, Sample], variants: int, device: torch.device
) -> None:
    """Write the features of each picture to its path; another thread reads the next pictures."""
    exact = build_network(checkpoint).tower.to(device)
    fast = inference_tower(exact, DTYPES[fastest_precision(device)])
    size = CPU_PICTURES if device.type == "cpu" else GPU_PICTURES
    step = partial(_views, checkpoint, variants)
    with (
        tqdm(total=len(missing), desc="features", unit="image", disable=None) as progress,
        ThreadPoolExecutor(1) as thread,
        closing(run_ahead(thread, step, missing.values(), ahead=2 * size)) as views,
    ):
        for group in in_groups(zip(missing, views, strict=True), size):
            paths, pairs = zip(*group, strict=True)
            features = _features(fast, exact, torch.cat(pairs).to(device))
            rows = features.split([len(pair) for pair in pairs])
            for path, own in zip(paths, rows, strict=True):
                with replacing(path) as part, part.open("wb") as file:
                    np.save(file, own.numpy())
            progress.update(len(group))


@torch.inference_mode()
def _features(fast: nn.Module, exact: nn.Module, pairs: Tensor) -> Tensor:
    """Map (R, 2, 3, S, S) to features (R, 2, …) float16, on the CPU."""
    views = pairs.flatten(0, 1)
    features = fast(views)
    if not features.isfinite().all():  # a few pictures overflow in half precision
        features = exact(views)
    return features.half().cpu().unflatten(0, (-1, 2))


def _views(checkpoint: Checkpoint, variants: int, sample: Sample) -> Tensor:
    """Return a picture's views, shuffled and original, (R, 2, 3, S, S)."""
    patch = checkpoint.architecture.shuffle_patch
    shuffles = _variants(checkpoint, decode_image(sample.path), variants)
    return torch.stack(
        [
            torch.stack([shuffle_patches(view[None], torch.tensor(permutation), patch)[0], view])
            for picture, permutation in shuffles
            for view in checkpoint.preprocessing(picture)
        ]
    )


def _variants(checkpoint: Checkpoint, image: DecodedImage, variants: int) -> Iterable:
    patches = checkpoint.architecture.patches
    if not variants:
        return [(image.pixels, draw_permutations(checkpoint.permutation_seed, 1, patches)[0])]
    random = Random(image.sha256)
    size = checkpoint.preprocessing.size
    whole = checkpoint.preprocessing.kind == "resize"
    augmentation = clip_augmentation if whole else web_augmentation
    return [
        (augmentation(image.pixels, random, size=size), random.sample(range(patches), patches))
        for _ in range(variants)
    ]


def _tower_key(checkpoint: Checkpoint) -> str:
    """Return a hash of all that decides the features, except the picture."""
    settings = (RECIPE, checkpoint.preprocessing, checkpoint.permutation_seed)
    digest = hashlib.sha256(f"{settings} {checkpoint.architecture}".encode())
    for name, tensor in sorted(checkpoint.weights.items()):
        if name.startswith("tower."):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:16]
