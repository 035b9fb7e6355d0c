"""Towers for inference: they compute what the trained towers do, with less work.

Matrix products run in half precision, with weights that are cast once. Sums (the residual stream,
the layer norms, sums over a picture) and the filters that turn pixels into residuals stay in fp32.
Work on which no output depends is omitted, and each batch norm is folded into the convolution
before it.

Letters in the shape comments: N views, T tokens with the class token first, C channels, H attention
heads, R residuals, D channels of a convolution, S view side.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..network import ResidualTower

QUICK_GELU = 1.702  # x · sigmoid(1.702 x) is silu(1.702 x) / 1.702


def inference_tower(tower: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a module that maps views (N, 3, S, S) to features (N, C) as ``tower`` does.

    ``tower`` must be in ``eval`` mode. The module shares a transformer's weights in fp32, and
    copies those in half precision.
    """
    fast = FastResidualTower if isinstance(tower, ResidualTower) else FastClipTower
    return fast(tower, dtype)


class FastClipTower(nn.Module):
    """CLIP's vision transformer up to the last block that is read.

    That block computes the class token only. Returns (N, C), or (N, L, C) if ``tower`` reads
    several blocks.
    """

    def __init__(self, tower: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.patches = tower.conv1
        self.class_token = tower.class_embedding
        self.positions = tower.positional_embedding
        self.norm_before, self.norm_after = tower.ln_pre, tower.ln_post
        self.reads = tower.reads
        self.blocks = nn.ModuleList(FastBlock(block, dtype) for block in tower.needed_blocks())

    def embed(self, images: Tensor) -> Tensor:
        """Return the tokens before the first block, (N, 3, S, S) → (N, T, C)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(images), 1, -1)
        return self.norm_before(torch.cat([first, tokens], dim=1) + self.positions)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        tokens = self.embed(images)
        read = {}
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, queries=1 if block is self.blocks[-1] else None)
            read[number] = tokens[:, 0]
        if self.reads:
            return torch.stack([read[number] for number in self.reads], dim=1)  # (N, L, C)
        return self.norm_after(tokens)[:, 0]  # (N, C)


class FastBlock(nn.Module):
    """A block whose queries are only the first tokens: (N, T, C) → (N, queries, C)."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        attention, mlp, width = block.attn, block.mlp, block.attn.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.dtype, self.heads = dtype, attention.num_heads
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2
        self.query = _linear(weight[:width], bias[:width], dtype)
        self.key_value = _linear(weight[width:], bias[width:], dtype)
        self.out = _linear(attention.out_proj.weight, attention.out_proj.bias, dtype)
        if dtype == torch.float32:  # these weights are shared and must not change
            self.widen, self.activation, self.narrow = mlp.c_fc, mlp.gelu, mlp.c_proj
        else:
            wide, narrow = mlp.c_fc, mlp.c_proj
            self.widen = _linear(QUICK_GELU * wide.weight, QUICK_GELU * wide.bias, dtype)
            self.activation = nn.SiLU()
            self.narrow = _linear(narrow.weight / QUICK_GELU, narrow.bias, dtype)

    def forward(self, tokens: Tensor, queries: int | None = None) -> Tensor:
        seen = self.norm_1(tokens).to(self.dtype)
        tokens = tokens[:, :queries] + self._attended(seen[:, :queries], seen)
        hidden = self.widen(self.norm_2(tokens).to(self.dtype))
        return tokens + self.narrow(self.activation(hidden))

    def _attended(self, queries: Tensor, seen: Tensor) -> Tensor:
        parts = self.query(queries), *self.key_value(seen).chunk(2, dim=2)
        heads = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(*heads)  # (N, H, queries, C / H)
        return self.out(attended.transpose(1, 2).flatten(2))


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    linear.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)
    return linear


class FastResidualTower(nn.Module):
    """The small tower; only the convolutions over the residuals are in half precision.

    A change of sign in every other row before the transform moves the spectra's zero frequency to
    the middle.
    """

    def __init__(self, tower: ResidualTower, dtype: torch.dtype) -> None:
        super().__init__()
        stem, spectral = tower.stem.weight.detach(), tower.spectral
        self.dtype = dtype
        self.stem = nn.Parameter(
            (stem - stem.mean(dim=(2, 3), keepdim=True)).to(memory_format=torch.channels_last)
        )
        self.spatial = _folded(tower.spatial.layers).to(dtype, memory_format=torch.channels_last)
        self.mix = spectral.mix.weight.flatten(1)
        self.taper = spectral.taper.clone()
        self.taper[1::2] *= -1
        self.norm_spectra, *layers = spectral.anywhere
        halvings = [layer for layer in layers if isinstance(layer, nn.Sequential)]
        self.halve, *further = _folded(halvings)  # the first takes the spectra's memory layout
        self.anywhere = nn.Sequential(*further, *layers[len(halvings) :]).to(
            memory_format=torch.channels_last
        )
        self.spectral = spectral
        self.project, self.norm = tower.project, tower.norm

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        images = images.to(memory_format=torch.channels_last)
        residuals = functional.conv2d(images, self.stem, padding=2).tanh_()  # (N, R, S, S)
        power = self._log_power(residuals)
        exactly = self.spectral.exactly(self.spectral.harmonics(power))
        seen = [*self._moments(residuals), self._anywhere(power), exactly]
        return self.norm(self.project(torch.cat(seen, dim=1)))  # (N, C)

    def _moments(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each channel, (N, D) each."""
        maps = self.spatial(residuals.to(self.dtype)).float()
        maps = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (N, S'·S', D), without a copy
        means = maps.mean(dim=1, keepdim=True)
        variances = (maps - means).square_().sum(dim=1) / (maps.shape[1] - 1)
        return means[:, 0], variances.sqrt_()

    def _log_power(self, residuals: Tensor) -> Tensor:
        """Return the same as ``SpectralBranch.log_power``, (N, 2M, S, S/2 + 1)."""
        pixels = residuals.permute(0, 2, 3, 1).flatten(1, 2)  # (N, S·S, R), without a copy
        mixed = (self.mix @ pixels.mT).unflatten(2, residuals.shape[2:])
        maps = torch.cat([mixed, mixed.abs()], dim=1)
        maps = maps.sub_(maps.mean(dim=(2, 3), keepdim=True)).mul_(self.taper)
        squares = torch.view_as_real(torch.fft.rfft2(maps, norm="ortho")).square_()
        return (squares[..., 0] + squares[..., 1]).add_(1e-4).log_()

    def _anywhere(self, power: Tensor) -> Tensor:
        halved = self.halve(self.norm_spectra(power))
        return self.anywhere(halved.to(memory_format=torch.channels_last))


def _folded(convolutions: Iterable[nn.Sequential]) -> nn.Sequential:
    """Fold each batch norm into the convolution before it."""
    folded = []
    for convolution, norm, _ in convolutions:
        folded += [fuse_conv_bn_eval(convolution, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*folded)
