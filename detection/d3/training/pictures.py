"""Batches of augmented pictures for training, and of plain ones for validation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..dataset import Sample
from ..errors import ImageError
from ..images import decode_image
from ..preprocessing import Preprocessing
from .augmentation import Augmentation


class Pictures(Dataset):
    """Maps a sample to (view (3, S, S), label); without augmentation the view is the middle crop.

    The augmentation depends only on the seed and the sample's pair.
    """

    def __init__(
        self,
        samples: list[Sample],
        preprocessing: Preprocessing,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.samples = samples
        self.preprocessing = replace(preprocessing, max_crops=1)
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        sample = self.samples[index]
        image = decode_image(sample.path).pixels
        if self.augmentation is not None:
            image = self.augmentation(image, Random(f"{self.seed} {sample.pair}"))
        return self.preprocessing(image)[0], float(sample.label)


def picture_batches(
    pictures: Pictures, batches: list[list[int]], *, patches: int, workers: int
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Yield ((views (N, 3, S, S), one permutation (1, P)), labels (N,)) per batch of indices.

    Each batch has a new random permutation, as in the published trainer.
    """
    generator = torch.Generator().manual_seed(pictures.seed)
    for views, labels in DataLoader(pictures, batch_sampler=batches, num_workers=workers):
        permutation = torch.randperm(patches, generator=generator)[None]
        yield (views, permutation), labels.float()


def readable(samples: list[Sample]) -> tuple[list[Sample], list[tuple[Sample, ImageError]]]:
    """Return the samples that can be decoded, and the others with their errors."""

    def problem(sample: Sample) -> ImageError | None:
        try:
            decode_image(sample.path)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        checked = pool.map(problem, samples)
        progress = tqdm(checked, "checking", len(samples), unit="image", disable=None)
        problems = list(progress)
    good = [sample for sample, error in zip(samples, problems, strict=True) if error is None]
    bad = [(sample, error) for sample, error in zip(samples, problems, strict=True) if error]
    return good, bad
