"""Turn an RGB picture into the network's normalised views. Each checkpoint stores its settings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Kind = Literal["resize", "crops", "diagonal"]
ResizeOrder = Literal["pillow", "horizontal-first"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Maps a picture to float32 views of ``size`` × ``size`` pixels, (crops, 3, size, size).

    - ``resize`` squeezes the whole picture into one view with Pillow's antialiased bilinear filter
      on the 8-bit pixels.
    - ``crops`` are up to ``max_crops`` views at native resolution, evenly spread. Mirroring extends
      a side shorter than ``size``.
    - ``diagonal`` are up to ``max_crops`` crops that span the longer side, evenly from the upper
      left to the lower right corner: two show nearly all of a square, three of a 16:9 picture.

    A picture whose shorter side exceeds ``short_side`` is first reduced to that side, by Pillow's
    bicubic filter. Values are scaled to 0..1, then normalised by each channel's ``mean`` and
    ``std``.

    Pillow resizes in one direction, rounds, and then resizes in the other. Pillow 13 begins
    vertically with some portraits, earlier versions always horizontally. ``resize_order`` "pillow"
    is the installed version's order, "horizontal-first" gives the same bytes with every version.
    """

    kind: Kind = "resize"
    size: int = 224
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    max_crops: int = 1
    short_side: int | None = None
    resize_order: ResizeOrder = "pillow"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"The preprocessing kind {self.kind!r} is not known.")
        if self.resize_order not in get_args(ResizeOrder):
            raise ValueError(f"The resize order {self.resize_order!r} is not known.")
        if self.size < 1 or self.max_crops < 1:
            raise ValueError("The size and the number of crops must be at least 1.")
        if self.short_side is not None and (self.kind == "resize" or self.short_side < self.size):
            raise ValueError("Only crops have a short side, and it must be at least their size.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("Normalisation needs three means and three positive deviations.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = self._resized(image) if self.kind == "resize" else self._crops(image)
        colours = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (crops, 3, S, S)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return colours.float().div_(255).sub_(mean).div_(std)

    def _resized(self, image: Image.Image) -> np.ndarray:
        if self.resize_order == "horizontal-first":
            image = image.resize((self.size, image.height), Image.Resampling.BILINEAR)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.array(image)[None]  # (1, S, S, 3)

    def viewed_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height to which a picture of this size is reduced for crops."""
        if self.short_side is None or min(width, height) <= self.short_side:
            return width, height
        factor = self.short_side / min(width, height)
        return round(width * factor), round(height * factor)

    def _crops(self, image: Image.Image) -> np.ndarray:
        size = self.viewed_size(*image.size)
        if size != image.size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        return np.stack([self._crop(image, left, top) for left, top in self.boxes(*image.size)])

    def boxes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return the left and top corners of the crops of a picture of the ``viewed_size``."""
        choose = diagonal_boxes if self.kind == "diagonal" else crop_boxes
        return choose(width, height, self.size, self.max_crops)

    def _crop(self, image: Image.Image, left: int, top: int) -> np.ndarray:
        right, bottom = min(left + self.size, image.width), min(top + self.size, image.height)
        pixels = np.array(image.crop((left, top, right, bottom)))
        height, width = pixels.shape[:2]
        missing = ((0, self.size - height), (0, self.size - width), (0, 0))
        return np.pad(pixels, missing, mode="reflect")


def crop_boxes(width: int, height: int, size: int, max_crops: int) -> list[tuple[int, int]]:
    """Return the left and top corners of at most ``max_crops`` evenly spread crops of ``size``².

    The crops cover the picture if ``max_crops`` are enough. Along each axis the first and the last
    crop touch the edges; a single crop lies in the middle.
    """
    columns, rows = -(-width // size), -(-height // size)
    while columns * rows > max_crops:
        if columns >= rows:
            columns -= 1
        else:
            rows -= 1
    tops, lefts = _starts(height, size, rows), _starts(width, size, columns)
    return [(left, top) for top, left in product(tops, lefts)]


def diagonal_boxes(width: int, height: int, size: int, max_crops: int) -> list[tuple[int, int]]:
    """Return the left and top corners of at most ``max_crops`` crops along the diagonal."""
    count = min(max_crops, -(-max(width, height) // size))
    return list(zip(_starts(width, size, count), _starts(height, size, count), strict=True))


def _starts(side: int, size: int, count: int) -> list[int]:
    spare = max(side - size, 0)
    if count == 1:
        return [spare // 2]
    return [spare * i // (count - 1) for i in range(count)]


PREPROCESSINGS = {
    "tiny": Preprocessing(kind="crops", size=256, mean=(0.5,) * 3, std=(4 / 255,) * 3, max_crops=9),
    "vit-b-16": Preprocessing(kind="diagonal", max_crops=3, short_side=288),
    "vit-l-14": Preprocessing(),
}
