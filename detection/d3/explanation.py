"""Which places of an image pushed its logit towards FAKE, and which towards REAL.

A gradient times what it is the gradient of: to first order, what each place adds to the logit.
What is multiplied depends on the tower.

- ``ResidualTower``: the noise residuals behind the learned filters, as HiResCAM does with the
  feature maps of a CNN (Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful
  explanations of convolutional neural networks", arXiv 2011.08891). Residuals without a trace are
  zero, so the product tells the trace from the picture, which gradient × pixel does not.
- CLIP's transformer: the class token's attention to the patches in all blocks, after Chefer, Gur
  and Wolf, "Generic Attention-model Explainability for Interpreting Bi-modal and Encoder-Decoder
  Transformers", ICCV 2021. Theirs keeps what speaks for one class and follows attention through
  the blocks. Here the sign is kept, FAKE against REAL, and each block is taken by itself: on small
  trained towers that ranked the patches alike, and it makes this a first-order sum as well.

D³ sees each crop twice, as it is and shuffled. Both count: what the shuffled view says is put back
to where its patches came from, and added.

Letters in the shape comments: P patches of the shuffle, S crop side, R residuals, L blocks, H
attention heads, T tokens with the class token first. Of 2 views the shuffled one comes first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import D3Network, ResidualTower, shuffle_patches
from .preprocessing import Preprocessing

MAX_CELLS = 256  # on the longer side of a map; the cells of larger images are larger

Places = tuple[np.ndarray, np.ndarray]  # of a crop's rows and columns in the image, 0..1, (S,) each


def attribute(network: D3Network, crop: Tensor, permutations: Tensor) -> tuple[float, np.ndarray]:
    """The logit of one crop, averaged over the permutations, and what each pixel adds to it.

    crop (1, 3, S, S), permutations (K, P) → the logit and float32 (S, S), towards FAKE positive.
    One forward and one backward pass for each permutation, one after the other because a large
    tower keeps 0.6 GB a view, in the precision of ``crop``. ``network`` stays as it is, so threads
    may share it.
    """
    parts = [_attribute(network, crop, permutation) for permutation in permutations]
    logits, pixels = zip(*parts, strict=True)
    return float(np.mean(logits)), np.mean(pixels, axis=0)


def _attribute(network: D3Network, crop: Tensor, permutation: Tensor) -> tuple[float, np.ndarray]:
    """The same for one permutation, (P,)."""
    method = _residual_relevance if isinstance(network.tower, ResidualTower) else _token_relevance
    with torch.inference_mode(mode=False), torch.enable_grad():
        logit, relevance = method(network, crop.clone(), permutation[None])  # (2, side, side)
    shuffled, original = _spread(relevance, network.architecture.image_size).split(1)
    restored = shuffle_patches(shuffled, permutation.argsort(), network.architecture.shuffle_patch)
    return logit.item(), (restored + original)[0, 0].cpu().numpy()


def _residual_relevance(
    network: D3Network, crop: Tensor, permutation: Tensor
) -> tuple[Tensor, Tensor]:
    """The logit, and HiResCAM at the residual maps, (2, S, S)."""
    stem = _Recorded(network.tower.stem)
    logit = _with_module(network, "tower.stem", stem)(crop, permutation)[0, 0, 0]
    (gradient,) = torch.autograd.grad(logit, stem.output)  # (2, R, S, S)
    return logit.detach(), (gradient * stem.output.detach()).sum(dim=1)


def _token_relevance(
    network: D3Network, crop: Tensor, permutation: Tensor
) -> tuple[Tensor, Tensor]:
    """The logit, and gradient × attention of the class token, summed up, (2, side, side)."""
    attentions = [_RecordedAttention(block.attn) for block in network.tower.needed_blocks()]
    for block, attention in enumerate(attentions):
        path = f"tower.transformer.resblocks.{block}.attn"
        network = _with_module(network, path, attention)
    logit = network(crop, permutation)[0, 0, 0]
    weights = [attention.weights for attention in attentions]  # L × (2, H, T, T)
    gradients = torch.autograd.grad(logit, weights)
    pairs = zip(weights, gradients, strict=True)
    # The class token's row, without its attention to itself: (2, H, T - 1)
    pushes = [weight.detach()[:, :, 0, 1:] * slope[:, :, 0, 1:] for weight, slope in pairs]
    tokens = torch.stack(pushes).sum(dim=(0, 2))  # (2, T - 1)
    side = round(tokens.shape[1] ** 0.5)
    return logit.detach(), tokens.unflatten(1, (side, side))


class _Recorded(nn.Module):
    """A module whose output is kept, and where a gradient ends."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module

    def forward(self, inputs: Tensor) -> Tensor:
        self.output = self._module(inputs).detach().requires_grad_()
        return self.output


class _RecordedAttention(nn.Module):
    """PyTorch's self-attention, whose own weights are of no use for gradients, written out."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self._attention = attention

    def forward(self, tokens: Tensor, *_same: Tensor, **_options: object) -> tuple[Tensor, None]:
        attention = self._attention
        projected = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
        heads = projected.unflatten(2, (3, attention.num_heads, -1))  # (2, T, 3, H, C / H)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (2, H, T, C / H) each
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        self.weights = scores.softmax(dim=3)
        if not self.weights.requires_grad:  # nothing before the first block does
            self.weights.requires_grad_()
        attended = (self.weights @ value).transpose(1, 2).flatten(2)  # (2, T, C)
        return attention.out_proj(attended), None


def _with_module(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """A copy of ``root`` that has ``module`` at ``path``, and shares all its other parts."""
    name, _, rest = path.partition(".")
    replaced = copy.copy(root)
    part = _with_module(root.get_submodule(name), rest, module) if rest else module
    replaced._modules = {**root._modules, name: part}
    return replaced


def _spread(relevance: Tensor, size: int) -> Tensor:
    """Each value shared out among its pixels, (2, side, side) → (2, 1, S, S)."""
    pixels = functional.interpolate(relevance[:, None], size=(size, size), mode="nearest-exact")
    return pixels * (relevance.shape[1] / size) ** 2


def evidence_map(
    crops: Iterable[np.ndarray], places: Iterable[Places], shape: tuple[int, int], patch: int
) -> np.ndarray:
    """The crops' pixels, (S, S) each, put together on the cells of the image, (rows, columns).

    A value is the mean over all looks at the cell's pixels, times ``patch``²: what a patch of
    that side adds to the logit of a crop. A mirrored pixel is one more look at the pixel itself.
    NaN where no crop looked.
    """
    rows, columns = shape
    total, looks = np.zeros((2, rows, columns))
    for pixels, (ys, xs) in zip(crops, places, strict=True):
        cells = np.ix_((ys * rows).astype(int), (xs * columns).astype(int))
        np.add.at(total, cells, pixels)
        np.add.at(looks, cells, 1)
    unseen = np.full_like(total, np.nan)
    means = np.divide(total, looks, out=unseen, where=looks > 0)
    return (means * patch**2).astype(np.float32)


def map_shape(preprocessing: Preprocessing, patch: int, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the map of an image; they divide it evenly, edge to edge.

    As many as the view has patches where the image is resized, otherwise cells of about ``patch``
    of the viewed pixels a side, or larger ones where those would be more than MAX_CELLS.
    """
    if preprocessing.kind == "resize":
        return (preprocessing.size // patch,) * 2
    width, height = preprocessing.viewed_size(width, height)
    cell = max(patch, max(width, height) / MAX_CELLS)
    return max(1, round(height / cell)), max(1, round(width / cell))


def crop_places(preprocessing: Preprocessing, width: int, height: int) -> Iterator[Places]:
    """Where the crops that ``preprocessing`` makes of an image lie in it."""
    size = preprocessing.size
    if preprocessing.kind == "resize":
        centres = (np.arange(size) + 0.5) / size
        yield centres, centres
        return
    width, height = preprocessing.viewed_size(width, height)
    for left, top in preprocessing.boxes(width, height):
        yield _places(top, height, size), _places(left, width, size)


def _places(start: int, side: int, size: int) -> np.ndarray:
    """Of ``size`` pixels from ``start`` on, mirrored at the end of the ``side``; (size,), 0..1."""
    pixels = np.arange(start, min(start + size, side))
    mirrored = np.pad(pixels, (0, size - len(pixels)), mode="reflect")
    return (mirrored + 0.5) / side
