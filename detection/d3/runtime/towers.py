"""The towers as a detector runs them: the same functions with less work, also in half precision.

Half are the matrix products and their weights, cast once. What adds up stays in fp32: the residual
stream, the layer norms, sums over a picture, and everything before pixels have become residuals.
What no output depends on is left out, and batch norms are folded into the convolutions before them.

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
    """Maps views (N, 3, S, S) to features (N, C) as ``tower``, which must be in ``eval`` mode.

    A transformer's weights that stay in fp32 are shared; those in half are copies.
    """
    fast = FastResidualTower if isinstance(tower, ResidualTower) else FastClipTower
    return fast(tower, dtype)


class FastClipTower(nn.Module):
    """CLIP's vision transformer up to the last block that is read, where only the class token is
    worked on. As ``tower``, it gives (N, C), or (N, L, C) where several blocks are read.
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
        """The tokens before the first block, (N, 3, S, S) → (N, T, C)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(images), 1, -1)
        return self.norm_before(torch.cat([first, tokens], dim=1) + self.positions)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        tokens = self.embed(images)
        read = {}
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, asking=1 if block is self.blocks[-1] else None)
            read[number] = tokens[:, 0]
        if self.reads:
            return torch.stack([read[number] for number in self.reads], dim=1)  # (N, L, C)
        return self.norm_after(tokens)[:, 0]  # (N, C)


class FastBlock(nn.Module):
    """The first ``asking`` tokens (all unless given) look at all: (N, T, C) → (N, asking, C)."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        attention, mlp, width = block.attn, block.mlp, block.attn.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.dtype, self.heads = dtype, attention.num_heads
        self.norm_1, self.norm_2 = block.ln_1, block.ln_2
        self.query = _linear(weight[:width], bias[:width], dtype)
        self.key_value = _linear(weight[width:], bias[width:], dtype)
        self.out = _linear(attention.out_proj.weight, attention.out_proj.bias, dtype)
        if dtype == torch.float32:  # its weights are shared, and must not be changed
            self.widen, self.activation, self.narrow = mlp.c_fc, mlp.gelu, mlp.c_proj
        else:
            wide, narrow = mlp.c_fc, mlp.c_proj
            self.widen = _linear(QUICK_GELU * wide.weight, QUICK_GELU * wide.bias, dtype)
            self.activation = nn.SiLU()
            self.narrow = _linear(narrow.weight / QUICK_GELU, narrow.bias, dtype)

    def forward(self, tokens: Tensor, asking: int | None = None) -> Tensor:
        seen = self.norm_1(tokens).to(self.dtype)
        tokens = tokens[:, :asking] + self._attended(seen[:, :asking], seen)
        hidden = self.widen(self.norm_2(tokens).to(self.dtype))
        return tokens + self.narrow(self.activation(hidden))

    def _attended(self, asking: Tensor, seen: Tensor) -> Tensor:
        parts = self.query(asking), *self.key_value(seen).chunk(2, dim=2)
        heads = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(*heads)  # (N, H, asking, C / H)
        return self.out(attended.transpose(1, 2).flatten(2))


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    linear.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)
    return linear


class FastResidualTower(nn.Module):
    """The small tower: only the convolutions over the residuals are in half, spectra in fp32.

    Spectra come with the zero frequency in the middle, by changing the sign of every other row
    before the transform.
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
        self.halve, *further = _folded(halvings)  # the first one reads the spectra as they lie
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
        """Mean and spread of each channel, (N, D) each."""
        maps = self.spatial(residuals.to(self.dtype)).float()
        maps = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (N, S'·S', D), as it lies in memory
        means = maps.mean(dim=1, keepdim=True)
        variances = (maps - means).square_().sum(dim=1) / (maps.shape[1] - 1)
        return means[:, 0], variances.sqrt_()

    def _log_power(self, residuals: Tensor) -> Tensor:
        """As ``SpectralBranch.log_power``, (N, 2M, S, S/2 + 1)."""
        pixels = residuals.permute(0, 2, 3, 1).flatten(1, 2)  # (N, S·S, R), as it lies in memory
        mixed = (self.mix @ pixels.mT).unflatten(2, residuals.shape[2:])
        maps = torch.cat([mixed, mixed.abs()], dim=1)
        maps = maps.sub_(maps.mean(dim=(2, 3), keepdim=True)).mul_(self.taper)
        squares = torch.view_as_real(torch.fft.rfft2(maps, norm="ortho")).square_()
        return (squares[..., 0] + squares[..., 1]).add_(1e-4).log_()

    def _anywhere(self, power: Tensor) -> Tensor:
        halved = self.halve(self.norm_spectra(power))
        return self.anywhere(halved.to(memory_format=torch.channels_last))


def _folded(convolutions: Iterable[nn.Sequential]) -> nn.Sequential:
    """Convolution, batch norm and ReLU, each as a convolution and a ReLU."""
    folded = []
    for convolution, norm, _ in convolutions:
        folded += [fuse_conv_bn_eval(convolution, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*folded)
