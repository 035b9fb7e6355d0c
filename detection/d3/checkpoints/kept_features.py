"""Kept features: features of training and validation pictures, stored in a checkpoint.

With these features the head learns from a few corrections without forgetting the rest, at a site
that has none of the pictures (Rolnick et al., "Experience Replay for Continual Learning", NeurIPS
2019). Of each picture only the input of the head is stored: two vectors, not the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Features:
    """Features of N pictures in R rows; a row is one variant or one crop of a picture.

    ``views`` (R, 2, …) float16, the shuffled view first; ``pictures`` (R,) int64, the number of
    each row's picture, ascending; ``labels`` (N,) int64, 0 real and 1 fake; ``sources`` (N,) int64,
    equal for the pictures of one source.
    """

    views: Tensor
    pictures: Tensor
    labels: Tensor
    sources: Tensor

    def of_pictures(self, logits: Tensor) -> Tensor:
        """Average the logits over each picture's rows, (R,) → (N,)."""
        sums = torch.zeros(len(self.labels)).index_add_(0, self.pictures, logits)
        return sums / torch.bincount(self.pictures, minlength=len(self.labels))


def joined(*parts: Features) -> Features:
    """Concatenate the pictures of the parts; equal sources of different parts become different."""
    pictures, sources = [], []
    first_picture = first_source = 0
    for part in parts:
        pictures.append(part.pictures + first_picture)
        sources.append(part.sources + first_source)
        first_picture += len(part.labels)
        first_source += int(part.sources.max()) + 1
    return Features(
        views=torch.cat([part.views for part in parts]),
        pictures=torch.cat(pictures),
        labels=torch.cat([part.labels for part in parts]),
        sources=torch.cat(sources),
    )


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """Stored features of two splits; ``views`` (R, 2, C) are inputs of the head.

    ``train`` has one augmented row of each picture, ``val`` one row for each crop.
    """

    train: Features
    val: Features

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names in a checkpoint's file."""
        return {
            f"{split}.{name}": getattr(getattr(self, split), name)
            for split in SPLITS
            for name in NAMES
        }

    @classmethod
    def from_tensors(cls, found: dict[str, Any], width: int) -> KeptFeatures:
        """Return the features from the result of ``tensors``, for a head of ``width`` channels.

        Raises ValueError if ``found`` is anything else.
        """
        if found.keys() != {f"{split}.{name}" for split in SPLITS for name in NAMES}:
            raise ValueError("The parts of stored features are not complete.")
        parts = [Features(*(found[f"{split}.{name}"] for name in NAMES)) for split in SPLITS]
        for features in parts:
            _check(features, width)
        return cls(*parts)


SPLITS = tuple(field.name for field in fields(KeptFeatures))
NAMES = tuple(field.name for field in fields(Features))


def _check(features: Features, width: int) -> None:
    views, pictures, labels, sources = (getattr(features, name) for name in NAMES)
    if views.dtype != torch.float16 or views.shape[1:] != (2, width):
        raise ValueError("Kept views have another type or shape.")
    if not views.isfinite().all():
        raise ValueError("Kept views are not all finite numbers.")
    if any(each.dtype != torch.int64 for each in (pictures, labels, sources)):
        raise ValueError("Kept numbers have another type.")
    numbers = torch.arange(len(labels))
    if not torch.equal(pictures.unique_consecutive(), numbers) or len(pictures) != len(views):
        raise ValueError("Kept pictures are not numbered.")
    if labels.unique().tolist() != [0, 1] or len(sources) != len(labels):
        raise ValueError("Kept labels are of one class, or of none.")
