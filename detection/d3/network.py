"""The D³ network, top to bottom: patch shuffle, one shared tower, attention head.

Yang et al., "D³: Scaling Up Deepfake Detection by Learning from Discrepancy", CVPR 2025
(arXiv 2404.04584). A tower sees an image and a copy with shuffled patches. The shuffle destroys the
content, but not a generator's traces. A small self-attention head over the two feature vectors
gives one logit.

Letters in the shape comments: N images, K permutations, C feature channels, S image side,
P patches of an image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .clip import VisionTransformer


@dataclass(frozen=True, slots=True)
class ClipTowerConfig:
    """CLIP's vision transformer. The defaults are ViT-L/14, read at its end as in the paper.

    With ``reads`` the class tokens after those blocks (counted from 0) are read instead, and
    reduced together to ``features`` channels.
    """

    width: int = 1024
    layers: int = 24
    patch_size: int = 14
    reads: tuple[int, ...] = ()
    features: int = 0
    kind: str = "clip"


@dataclass(frozen=True, slots=True)
class ResidualTowerConfig:
    """A small tower that sees noise residuals in space and in frequency."""

    width: int = 128
    residuals: int = 12  # high-pass filters of the stem
    spatial: tuple[int, ...] = (24, 48, 96)  # channels after each halving of the picture
    spectra: int = 3  # mixed residual maps whose spectra are read
    spectral: tuple[int, ...] = (16, 32, 64)  # channels after each halving of the spectrum
    kind: str = "residual"


TowerConfig = ClipTowerConfig | ResidualTowerConfig
TOWERS: dict[str, type[TowerConfig]] = {"clip": ClipTowerConfig, "residual": ResidualTowerConfig}


@dataclass(frozen=True, slots=True)
class Architecture:
    """All sizes that decide the shapes of the weights."""

    tower: TowerConfig = field(default_factory=ClipTowerConfig)
    image_size: int = 224
    shuffle_patch: int = 14  # side of the patches that the shuffle moves, in pixels
    outputs: int = 1  # 2 in some published heads, whose second output is unused

    @property
    def patches(self) -> int:
        return (self.image_size // self.shuffle_patch) ** 2

    @property
    def features(self) -> int:
        """Channels of one view at the head's input."""
        return getattr(self.tower, "features", 0) or self.tower.width

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        tower = dict(values["tower"])
        config = TOWERS[tower["kind"]]
        tower = {key: tuple(v) if isinstance(v, list) else v for key, v in tower.items()}
        return cls(**{**values, "tower": config(**tower)})


ARCHITECTURES = {
    "tiny": Architecture(tower=ResidualTowerConfig(), image_size=256, shuffle_patch=32),
    "vit-b-16": Architecture(
        tower=ClipTowerConfig(
            width=768, layers=12, patch_size=16, reads=(3, 5, 7, 9), features=384
        ),
        shuffle_patch=32,
    ),
    "vit-l-14": Architecture(),
}


def shuffle_patches(images: Tensor, permutation: Tensor, patch: int) -> Tensor:
    """Put patch ``permutation[p]`` of each image at position ``p``; patches count row by row.

    images (N, 3, S, S), permutation (P,) of 0..P-1 → (N, 3, S, S)
    """
    n, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    grid = images.reshape(n, channels, rows, patch, columns, patch)
    grid = grid.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, channels, patch, patch)
    grid = grid[:, permutation].reshape(n, rows, columns, channels, patch, patch)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, height, width)


class ResidualTower(nn.Module):
    """Noise residuals, and two small CNNs: one over the residuals, one over their spectra.

    A decoder's up-sampling leaves a pattern that repeats every 2, 4 or 8 pixels. No single place
    shows it, but it is a sharp peak in the spectrum of the whole picture once strong edges are
    truncated (Zhang et al., "Detecting and Simulating Artifacts in GAN Fake Images", WIFS 2019, on
    the peaks; Fridrich and Kodovský, "Rich Models for Steganalysis", TIFS 2012, on truncated
    residuals).
    """

    def __init__(self, config: ResidualTowerConfig, image_size: int) -> None:
        super().__init__()
        self.stem = HighPass(config.residuals)
        self.spatial = SpatialBranch(config.residuals, config.spatial)
        self.spectral = SpectralBranch(
            config.residuals, config.spectra, config.spectral, image_size
        )
        self.project = nn.Linear(self.spatial.width + self.spectral.width, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        residuals = self.stem(images)  # (N, R, S, S)
        seen = torch.cat([self.spatial(residuals), self.spectral(residuals)], dim=1)
        return self.norm(self.project(seen))  # (N, C)


class HighPass(nn.Module):
    """Learned 5×5 filters whose weights sum to zero per colour, with a soft truncation.

    They begin as functions of the discrete cosine transform on luminance.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        luminance = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
        noise = 0.02 * torch.randn(filters, 3, 5, 5)
        self.weight = nn.Parameter(_cosine_filters(5)[:filters, None] * luminance + noise)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        weight = self.weight - self.weight.mean(dim=(2, 3), keepdim=True)
        return torch.tanh(functional.conv2d(images, weight, padding=2))  # (N, R, S, S)


def _cosine_filters(side: int) -> Tensor:
    """Return 2-D DCT functions without the lowest ones, by frequency, (filters, side, side)."""
    index = torch.arange(side)
    rows = torch.cos(torch.pi / side * (index + 0.5) * index[:, None])
    rows = rows / rows.norm(dim=1, keepdim=True)
    orders = sorted(((i, j) for i in range(side) for j in range(side) if i + j > 1), key=sum)
    return torch.stack([torch.outer(rows[i], rows[j]) for i, j in orders])


class SpatialBranch(nn.Module):
    """Strided convolutions, then mean and standard deviation of each channel over the picture."""

    def __init__(self, residuals: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = (residuals, *channels)
        halvings = [_convolution(a, b, stride=2) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*halvings, _convolution(channels[-1], channels[-1]))
        self.width = 2 * channels[-1]

    def forward(self, residuals: Tensor) -> Tensor:
        maps = self.layers(residuals).float()  # (N, D, S', S')
        return torch.cat([maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))], dim=1)  # (N, 2D)


class SpectralBranch(nn.Module):
    """Log power spectra of mixed residuals and of their magnitudes, read in two ways.

    Up-sampling by a power of two gives peaks at a few known frequencies, which ``exactly`` reads
    through ``harmonics``. Rescaling moves the peaks, so the CNN ``anywhere`` searches the whole
    spectrum.

    Spectra of magnitudes are necessary because interpolation makes the variance of residuals
    periodic, not their mean (Gallagher, "Detection of linear and cubic interpolation in JPEG
    compressed images", CRV 2005).
    """

    def __init__(
        self, residuals: int, spectra: int, channels: tuple[int, ...], image_size: int
    ) -> None:
        super().__init__()
        self.mix = nn.Conv2d(residuals, spectra, 1, bias=False)
        taper = (2 * torch.hann_window(image_size)).clamp(max=1)  # flat in its middle half
        self.register_buffer("taper", taper[:, None] * taper, persistent=False)
        row_means, column_means = _surroundings(image_size)
        self.register_buffer("row_means", row_means, persistent=False)
        self.register_buffer("column_means", column_means, persistent=False)
        widths = (2 * spectra, *channels)
        self.anywhere = nn.Sequential(
            nn.BatchNorm2d(2 * spectra),
            *(_convolution(a, b, stride=2) for a, b in pairwise(widths)),
            nn.AdaptiveMaxPool2d((8, 4)),
            nn.Flatten(),
            nn.Linear(32 * channels[-1], 128),
            nn.ReLU(),
        )
        peaks = 2 * spectra * HARMONICS * (HARMONICS // 2 + 1)
        self.exactly = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(peaks), nn.Linear(peaks, 64), nn.ReLU()
        )
        self.width = 128 + 64

    def forward(self, residuals: Tensor) -> Tensor:  # (N, R, S, S)
        maps = self.mix(residuals)
        maps = torch.cat([maps, maps.abs()], dim=1)  # (N, 2M, S, S)
        power = self.log_power(maps.float())
        return torch.cat([self.anywhere(power), self.exactly(self.harmonics(power))], dim=1)

    def log_power(self, maps: Tensor) -> Tensor:
        """Return log power (N, 2M, S, S/2 + 1), zero frequency in the middle of the left edge."""
        with torch.autocast(maps.device.type, enabled=False):
            maps = (maps - maps.mean(dim=(2, 3), keepdim=True)) * self.taper
            return torch.fft.fftshift((PowerSpectrum.apply(maps) + 1e-4).log(), dim=2)

    def harmonics(self, power: Tensor) -> Tensor:
        """Return the height of the log power over its surroundings at the harmonics.

        Harmonics are multiples of 1/16 cycles per pixel. (N, 2M, S, S/2 + 1) with the zero
        frequency at row S/2 → (N, 2M, 16, 9). At an edge the surroundings are completed by the
        symmetries of the spectrum: rows repeat, columns are mirrored.
        """
        step = power.shape[2] // HARMONICS
        with torch.autocast(power.device.type, enabled=False):
            return power[:, :, ::step, ::step] - self.row_means @ (power @ self.column_means)


HARMONICS = 16  # rows: after four doublings a decoder's traces repeat every 16 pixels


def _surroundings(side: int) -> tuple[Tensor, Tensor]:
    """Return A (16, S) and B (S/2 + 1, 9): A P B are the means of a spectrum P around harmonics."""
    step = side // HARMONICS
    reach = step // 4
    rows = functional.pad(torch.eye(side)[None], (reach, reach), mode="circular")
    columns = functional.pad(torch.eye(side // 2 + 1)[None], (reach, reach), mode="reflect")
    row_means, column_means = (
        functional.avg_pool1d(each, 2 * reach + 1, stride=step)[0] for each in (rows, columns)
    )
    return row_means.T.contiguous(), column_means


class PowerSpectrum(torch.autograd.Function):
    """Squared magnitude of the real 2-D Fourier transform, (…, S, S) → (…, S, S/2 + 1), S even.

    The backward pass needs one real transform; autograd would need a full complex one.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(maps, norm="ortho")
        ctx.save_for_backward(spectrum)
        return torch.view_as_real(spectrum).square().sum(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (spectrum,) = ctx.saved_tensors
        weighted = spectrum * gradient
        weighted[..., 0] *= 2  # these two columns have no mirror image in the omitted half
        weighted[..., -1] *= 2
        return torch.fft.irfft2(weighted, norm="ortho")


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class TokenReader(nn.Module):
    """Combines the class tokens of several blocks to one feature vector, (N, L, W) → (N, C).

    Early blocks still have the fine traces that the last ones lose to content (Koutlis and
    Papadopoulos, "Leveraging Representations from Intermediate Encoder-blocks for Synthetic Image
    Detection", ECCV 2024).
    """

    def __init__(self, reads: int, width: int, features: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(reads))
        self.project = nn.Linear(reads * width, features)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        read = [norm(token) for norm, token in zip(self.norms, tokens.unbind(1), strict=True)]
        return self.dropout(functional.gelu(self.project(self.dropout(torch.cat(read, dim=1)))))


DROPOUT = 0.2  # of a token reader, in training


class AttentionHead(nn.Module):
    """Single-head self-attention over the two views, flattened into one linear layer.

    The softmax runs over the *query* index, so each column of the attention matrix sums to one, as
    in the training of the published weights.
    """

    def __init__(self, width: int, outputs: int = 1) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.fc = nn.Linear(2 * width, outputs)
        self.scale = width**-0.5

    def forward(self, features: Tensor) -> Tensor:  # (N, 2, C), shuffled first
        scores = self.query(features) @ self.key(features).transpose(1, 2) * self.scale
        attended = scores.softmax(dim=1) @ self.value(features)  # (N, 2, C)
        return self.fc(attended.flatten(1))  # (N, outputs)


class D3Network(nn.Module):
    """Shuffle, tower and head.

    ``forward(images, permutations)`` maps (N, 3, S, S) and (K, P) to logits (K, N, outputs).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        config = architecture.tower
        build = ResidualTower if isinstance(config, ResidualTowerConfig) else clip_tower
        self.tower = build(config, architecture.image_size)
        self.reader = _build_reader(config)
        self.attention_head = AttentionHead(architecture.features, architecture.outputs)

    def forward(self, images: Tensor, permutations: Tensor) -> Tensor:
        return self.classify(*self.features(images, permutations))

    def features(self, images: Tensor, permutations: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of the shuffled views (K, N, C) and of the images (N, C), in one pass."""
        patch = self.architecture.shuffle_patch
        views = [shuffle_patches(images, permutation, patch) for permutation in permutations]
        features = self.read(torch.cat([*views, images])).unflatten(
            0, (len(permutations) + 1, len(images))
        )
        return features[:-1], features[-1]

    def read(self, images: Tensor) -> Tensor:
        """Return features (N, C) of images (N, 3, S, S)."""
        return self.reader(self.tower(images).float())

    def classify(self, shuffled: Tensor, original: Tensor) -> Tensor:
        """Return logits (K, N, outputs) of features (K, N, C) and (N, C)."""
        pairs = torch.stack([shuffled, original.expand_as(shuffled)], dim=2)  # (K, N, 2, C)
        return self.attention_head(pairs.flatten(0, 1)).unflatten(0, shuffled.shape[:2])


def with_module(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Return a copy of ``root`` with ``module`` at ``path``; the copy shares all other parts."""
    name, _, rest = path.partition(".")
    replaced = copy.copy(root)
    part = with_module(root.get_submodule(name), rest, module) if rest else module
    replaced._modules = {**root._modules, name: part}
    return replaced


def clip_tower(config: ClipTowerConfig, image_size: int) -> VisionTransformer:
    """Return CLIP's tower with random weights."""
    return VisionTransformer(
        image_size=image_size,
        patch_size=config.patch_size,
        width=config.width,
        layers=config.layers,
        reads=config.reads,
    )


def untrained_weights_after_tower(architecture: Architecture) -> dict[str, Tensor]:
    """Return random weights of the reader and the head, by their names in the network."""
    parts = {
        "reader": _build_reader(architecture.tower),
        "attention_head": AttentionHead(architecture.features, architecture.outputs),
    }
    return {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def _build_reader(config: TowerConfig) -> nn.Module:
    if isinstance(config, ClipTowerConfig) and config.reads:
        return TokenReader(len(config.reads), config.width, config.features)
    return nn.Identity()
