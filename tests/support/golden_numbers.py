"""The recorded numbers of a network, and the network that must reproduce them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import Checkpoint, load
from detection.d3.network import D3Network
from tests.support.golden_weights import digest, head_weights, visual_weights
from tests.support.published_layouts import CLIP, HEAD, TINY

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


class Judged(NamedTuple):
    """A detector's features and logits of all variants under both permutations."""

    shuffled: torch.Tensor  # features, (2, N, C)
    original: torch.Tensor  # (N, C)
    logits: torch.Tensor  # (2, N)
    means: np.ndarray  # of the two logits, the detector's result, (N,)


@dataclass
class GoldenSet:
    """The recorded numbers of one network, the network itself, and its largest differences."""

    name: str
    tolerance: float  # absolute, of features and logits
    checkpoint: Checkpoint
    two_logit_head: dict[str, torch.Tensor]
    numbers: dict = field(init=False)
    worst: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        self.numbers = json.loads((GOLDEN / self.name / "golden.json").read_text())
        self.arrays = dict(np.load(GOLDEN / self.name / "arrays.npz"))
        self.detector = Detector(self.checkpoint, device=CPU, precision="fp32")
        self.A, self.B = (self.numbers["permutations"][name]["perm"] for name in "AB")

    @property
    def variants(self) -> Iterator[tuple[dict, str, dict]]:
        """Yield (image, name of the variant, numbers) for each image and each decoding of it."""
        for image in self.numbers["images"]:
            for name, numbers in image["variants"].items():
                yield image, name, numbers

    @property
    def network(self) -> D3Network:
        """The network for explanations; the one for verdicts shares its head."""
        return self.detector._network

    def path(self, image: dict) -> Path:
        return GOLDEN / self.name / image["file"]

    def array(self, image: dict, variant: str, name: str) -> np.ndarray:
        return self.arrays[f"{self.path(image).name}/{variant}/{name}"]

    def pixels(self, image: dict, variant: str) -> Image.Image:
        """Return the stored picture, already of the network's size: resizing does not change it."""
        return Image.fromarray(self.array(image, variant, "resized_u8"))

    @property
    def logits(self) -> np.ndarray:
        """The recorded logits of all variants, under A and under B, (2, N)."""
        both = [(numbers, numbers["with_permutation_B"]) for _, _, numbers in self.variants]
        return np.array([[each["one_logit"]["logit"] for each in pair] for pair in both]).T

    @cached_property
    def judged(self) -> Judged:
        return self.judged_by(self.detector)

    def judged_by(self, detector: Detector) -> Judged:
        """Judge all variants in one pass: the large network is slow."""
        seen = []
        head = detector._inference_network.attention_head
        pictures = [self.pixels(image, variant) for image, variant, _ in self.variants]
        with head.register_forward_hook(lambda _, pairs, logits: seen.append((*pairs, logits))):
            means = detector.logits(pictures, permutations=[self.A, self.B])
        pairs, logits = map(torch.stack, zip(*seen, strict=True))  # (N, 2, 2, C), (N, 2, 1)
        features = pairs[:, :, 0].transpose(0, 1), pairs[:, 0, 1]
        return Judged(*features, logits[..., 0].T, means)

    def views(self) -> torch.Tensor:
        """Return the views of each image in each variant, (N, 3, S, S)."""
        pixels = [self.pixels(image, variant) for image, variant, _ in self.variants]
        return torch.cat([self.checkpoint.preprocessing(picture) for picture in pixels])

    def agrees(
        self, quantity: str, actual: ArrayLike, expected: ArrayLike, tolerance: float | None = None
    ) -> None:
        difference = float(np.abs(np.asarray(actual, np.float64) - np.asarray(expected)).max())
        self.worst[quantity] = max(self.worst[quantity], difference)
        assert difference <= (tolerance or self.tolerance), quantity


def tiny_set() -> GoldenSet:
    two = torch.load(TINY / "two_logit_head.pth", weights_only=True)
    return GoldenSet("tiny", 1e-4, load(HEAD, clip_weights=CLIP), two)


def vit_l_14_set(folder: Path) -> GoldenSet:
    recipe = json.loads((GOLDEN / "vitl14" / "golden.json").read_text())["recipe"]
    weights = {
        "visual": visual_weights(recipe),
        "head": head_weights(recipe, "head"),
        "head2": head_weights(recipe, "head2"),
    }
    assert {name: digest(arrays) for name, arrays in weights.items()} == recipe["digests"]
    tensors = {
        name: {key: torch.from_numpy(array) for key, array in arrays.items()}
        for name, arrays in weights.items()
    }
    for name in ("visual", "head"):
        torch.save(tensors[name], folder / f"{name}.pth")
    checkpoint = load(folder / "head.pth", clip_weights=folder / "visual.pth")
    (folder / "visual.pth").unlink()  # 600 MB
    return GoldenSet("vitl14", 5e-4, checkpoint, tensors["head2"])
