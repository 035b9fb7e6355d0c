"""CLIP's vision transformer, with OpenAI's names of weights.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
Letters in the shape comments: N images, S image side, T tokens with the class token first, C
channels, L blocks that are read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEAD_WIDTH = 64  # channels per attention head in every published CLIP ViT


class VisionTransformer(nn.Module):
    """CLIP's vision tower without its final projection; its weights are random at first.

    Maps (N, 3, S, S) to the class token after ``ln_post``, (N, C), or with ``reads`` to the class
    tokens after those blocks, counted from 0, (N, L, C).
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        reads: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.reads = reads
        tokens = (image_size // patch_size) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.ln_post = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, S, S)
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(images), 1, -1)
        tokens = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        read = {}
        for number, block in enumerate(self.needed_blocks()):
            tokens = block(tokens)  # (N, T, C)
            read[number] = tokens[:, 0]
        if self.reads:
            return torch.stack([read[number] for number in self.reads], dim=1)
        return self.ln_post(tokens[:, 0])

    def needed_blocks(self) -> nn.ModuleList:
        """Return the blocks up to the last one that is read."""
        blocks = self.transformer.resblocks
        return blocks[: max(self.reads, default=len(blocks) - 1) + 1]


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, both residual, both on normalised tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:  # (N, T, C)
        seen = self.ln_1(tokens)
        tokens = tokens + self.attn(seen, seen, seen, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


class QuickGELU(nn.Module):
    """The approximation of GELU with which OpenAI's weights were trained."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.sigmoid(1.702 * inputs)
