"""Explain a logit: the places of an image that pushed it towards FAKE, and towards REAL.

The method multiplies values inside the network by the logit's gradient at these values: to first
order, the product is the contribution of each place to the logit. The values depend on the tower.

- ``ResidualTower``: the noise residuals behind the learned filters, as HiResCAM does with the
  feature maps of a CNN (Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful
  explanations of convolutional neural networks", arXiv 2011.08891). Residuals without a trace are
  zero, so the product separates the trace from the picture; gradient × pixel does not.
- CLIP's transformer: the class token's attention to the patches in all blocks, after Chefer, Gur
  and Wolf, "Generic Attention-model Explainability for Interpreting Bi-modal and Encoder-Decoder
  Transformers", ICCV 2021. The paper drops negative contributions and follows the attention
  through successive blocks. Here contributions have a sign, FAKE against REAL, and those of the
  blocks are added, so that the sum stays of first order. Both ways ranked the patches of small
  trained towers alike.

D³ sees each crop twice, as it is and shuffled. The contributions of the shuffled patches are moved
back to their places and added.

Letters in the shape comments: P patches of the shuffle, S crop side, R residuals, L blocks, H
attention heads, T tokens with the class token first. Of 2 views the shuffled one comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import D3Network, ResidualTower, shuffle_patches, with_module
from .preprocessing import Preprocessing

MAX_CELLS = 256  # on the longer side of a map; the cells of larger images are larger

Places = tuple[np.ndarray, np.ndarray]  # of a crop's rows and columns in the image, 0..1, (S,) each


def attribute(network: D3Network, crop: Tensor, permutations: Tensor) -> tuple[float, np.ndarray]:
    """Return the logit of one crop, averaged over the permutations, and each pixel's contribution.

    crop (1, 3, S, S), permutations (K, P) → the logit and float32 (S, S), positive towards FAKE.
    Each permutation takes one forward and one backward pass in the precision of ``crop``, one after
    the other, because a large tower needs 0.6 GB a view. ``network`` does not change, so threads
    may share it.
    """
    parts = [_attribute(network, crop, permutation) for permutation in permutations]
    logits, pixels = zip(*parts, strict=True)
    return float(np.mean(logits)), np.mean(pixels, axis=0)


def _attribute(network: D3Network, crop: Tensor, permutation: Tensor) -> tuple[float, np.ndarray]:
    """Return the same as ``attribute`` for one permutation, (P,)."""
    method = _residual_relevance if isinstance(network.tower, ResidualTower) else _token_relevance
    with torch.inference_mode(mode=False), torch.enable_grad():
        logit, relevance = method(network, crop.clone(), permutation[None])  # (2, side, side)
    shuffled, original = _spread(relevance, network.architecture.image_size).split(1)
    restored = shuffle_patches(shuffled, permutation.argsort(), network.architecture.shuffle_patch)
    return logit.item(), (restored + original)[0, 0].cpu().numpy()


def _residual_relevance(
    network: D3Network, crop: Tensor, permutation: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logit, and HiResCAM at the residual maps, (2, S, S)."""
    stem = _Recorded(network.tower.stem)
    logit = with_module(network, "tower.stem", stem)(crop, permutation)[0, 0, 0]
    (gradient,) = torch.autograd.grad(logit, stem.output)  # (2, R, S, S)
    return logit.detach(), (gradient * stem.output.detach()).sum(dim=1)


def _token_relevance(
    network: D3Network, crop: Tensor, permutation: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logit, and the sum of gradient × attention of the class token, (2, side, side)."""
    attentions = [_RecordedAttention(block.attn) for block in network.tower.needed_blocks()]
    for block, attention in enumerate(attentions):
        path = f"tower.transformer.resblocks.{block}.attn"
        network = with_module(network, path, attention)
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
    """Records a module's output, and ends back-propagation there."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module

    def forward(self, inputs: Tensor) -> Tensor:
        self.output = self._module(inputs).detach().requires_grad_()
        return self.output


class _RecordedAttention(nn.Module):
    """Self-attention with recorded weights: those of PyTorch's own module have no gradient."""

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
        if not self.weights.requires_grad:  # in the first block, since the tower is frozen
            self.weights.requires_grad_()
        attended = (self.weights @ value).transpose(1, 2).flatten(2)  # (2, T, C)
        return attention.out_proj(attended), None


def _spread(relevance: Tensor, size: int) -> Tensor:
    """Divide each value among its pixels, (2, side, side) → (2, 1, S, S)."""
    pixels = functional.interpolate(relevance[:, None], size=(size, size), mode="nearest-exact")
    return pixels * (relevance.shape[1] / size) ** 2


def evidence_map(
    crops: Iterable[np.ndarray], places: Iterable[Places], shape: tuple[int, int], patch: int
) -> np.ndarray:
    """Combine the values of the crops' pixels, (S, S) each, to cells of the image, (rows, columns).

    A value is the mean over all views of the cell's pixels, times ``patch``²: the contribution of a
    patch of that side to the logit of a crop. A mirrored pixel is one more view of its original.
    A cell in no crop is NaN.
    """
    rows, columns = shape
    total, views = np.zeros((2, rows, columns))
    for pixels, (ys, xs) in zip(crops, places, strict=True):
        cells = np.ix_((ys * rows).astype(int), (xs * columns).astype(int))
        np.add.at(total, cells, pixels)
        np.add.at(views, cells, 1)
    unseen = np.full_like(total, np.nan)
    means = np.divide(total, views, out=unseen, where=views > 0)
    return (means * patch**2).astype(np.float32)


def map_shape(preprocessing: Preprocessing, patch: int, width: int, height: int) -> tuple[int, int]:
    """Return rows and columns of an image's map, whose cells divide the image evenly.

    A resized image has as many cells as its view has patches. Otherwise a cell has a side of about
    ``patch`` viewed pixels, or more if there would be more than MAX_CELLS.
    """
    if preprocessing.kind == "resize":
        return (preprocessing.size // patch,) * 2
    width, height = preprocessing.viewed_size(width, height)
    cell = max(patch, max(width, height) / MAX_CELLS)
    return max(1, round(height / cell)), max(1, round(width / cell))


def crop_places(preprocessing: Preprocessing, width: int, height: int) -> Iterator[Places]:
    """Yield the places of the crops of an image under ``preprocessing``."""
    size = preprocessing.size
    if preprocessing.kind == "resize":
        centres = (np.arange(size) + 0.5) / size
        yield centres, centres
        return
    width, height = preprocessing.viewed_size(width, height)
    for left, top in preprocessing.boxes(width, height):
        yield _places(top, height, size), _places(left, width, size)


def _places(start: int, side: int, size: int) -> np.ndarray:
    """Return the places of ``size`` pixels from ``start`` on, (size,) from 0 to 1.

    Beyond the end of ``side`` the places are mirrored, as the pixels are.
    """
    pixels = np.arange(start, min(start + size, side))
    mirrored = np.pad(pixels, (0, size - len(pixels)), mode="reflect")
    return (mirrored + 0.5) / side
