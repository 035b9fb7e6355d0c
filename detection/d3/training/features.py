"""Features of a frozen tower, computed once and kept on disk.

A frozen tower says the same of the same view, so each picture goes through it once per variant
instead of once per epoch. A variant is one augmentation with one shuffle. Without variants a
picture is seen as a detector sees it: in all its crops, under the checkpoint's first shuffle.

One small file per picture, named by the picture's content: an interrupted run goes on where it
stopped, and other runs with the same tower share the work.
"""

from __future__ import annotations

import hashlib
import os
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

from ..checkpoints.checkpoint import Checkpoint, build_network, draw_permutations
from ..checkpoints.kept_features import Features
from ..images.decoding import DecodedImage, decode_image
from ..network import shuffle_patches
from ..runtime.ahead import in_groups, run_ahead
from ..runtime.precision import DTYPES, fastest_precision
from ..runtime.towers import inference_tower
from .augmentation import clip_augmentation, web_augmentation
from .dataset import Sample

RECIPE = 2  # raise it when augmentation or shuffle change, so that old files are not read
CPU_PICTURES, GPU_PICTURES = 4, 16  # that go through the tower together
ROWS = 1024  # that go through reader or head together


def cached_features(
    checkpoint: Checkpoint,
    samples: list[Sample],
    *,
    folder: Path,
    device: torch.device,
    variants: int = 0,
) -> Features:
    """Read what the tower gives from ``folder``, and compute what is not there on the device.

    With ``variants`` a picture has so many augmented rows, else a row for each crop.
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
    """What the head gets, ``views`` (R, 2, C), of pictures of which the tower gave ``features``."""
    reader = build_network(checkpoint).reader
    parts = features.views.split(ROWS)
    views = [reader(part.float().flatten(0, 1)).half().unflatten(0, (-1, 2)) for part in parts]
    return replace(features, views=torch.cat(views))


@torch.inference_mode()
def row_logits(checkpoint: Checkpoint, features: Features) -> np.ndarray:
    """Logits of rows, float32 (R,), from what the head gets of them."""
    head = build_network(checkpoint).attention_head
    logits = [head(part.float())[:, 0] for part in features.views.split(ROWS)]
    return torch.cat(logits).numpy()


def head_logits(checkpoint: Checkpoint, features: Features) -> np.ndarray:
    """Logits of pictures, float32 (N,), from what the head gets of their rows."""
    return features.of_pictures(torch.from_numpy(row_logits(checkpoint, features))).numpy()


def feature_batches(
    features: Features, batch_size: int, *, seed: int | None = None
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """((shuffled (B, …), original (B, …)), labels (B,)), float32.

    All rows in their order; with a seed one row of each picture, in random order.
    """
    rows = torch.arange(len(features.views))
    if seed is not None:
        rows = _one_of_each(features.pictures, torch.Generator().manual_seed(seed))
    for indices in rows.split(batch_size):
        shuffled, original = features.views[indices].float().unbind(dim=1)
        yield (shuffled, original), features.labels[features.pictures[indices]].float()


def _one_of_each(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A random row of each picture, the pictures in random order."""
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
    """Write the features of each picture to its path; the next pictures are read meanwhile."""
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
                _save(path, own.numpy())
            progress.update(len(group))


@torch.inference_mode()
def _features(fast: nn.Module, exact: nn.Module, pairs: Tensor) -> Tensor:
    """(R, 2, 3, S, S) → (R, 2, …) float16, on the CPU."""
    views = pairs.flatten(0, 1)
    features = fast(views)
    if not features.isfinite().all():  # a few pictures overflow in half
        features = exact(views)
    return features.half().cpu().unflatten(0, (-1, 2))


def _views(checkpoint: Checkpoint, variants: int, sample: Sample) -> Tensor:
    """A picture's views, shuffled and original, (R, 2, 3, S, S)."""
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


def _save(path: Path, rows: np.ndarray) -> None:
    part = path.with_suffix(f".{os.getpid()}.partial")
    with part.open("wb") as file:
        np.save(file, rows)
    part.replace(path)


def _tower_key(checkpoint: Checkpoint) -> str:
    """Whatever the features depend on beside the picture."""
    settings = (RECIPE, checkpoint.preprocessing, checkpoint.permutation_seed)
    digest = hashlib.sha256(f"{settings} {checkpoint.architecture}".encode())
    for name, tensor in sorted(checkpoint.weights.items()):
        if name.startswith("tower."):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()[:16]
