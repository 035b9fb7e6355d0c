"""Synthetic weights of the real size, each a formula over its name, its index and a seed.

The golden numbers of ViT-L/14 belong to them. Integers and IEEE doubles give the same bits
everywhere; ``digest`` proves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import prod, sqrt

import numpy as np

Spec = tuple[str, tuple[int, ...], float, float, type]  # name, shape, mean, deviation, dtype

GAMMA = 0x9E3779B97F4A7C15  # all of this is the splitmix64 generator
MASK = 2**64 - 1
PAIRS = np.uint64(0x0000FFFF_0000FFFF)  # two of the four
CHUNK = 2**15  # fits the cache


def visual_weights(recipe: dict) -> dict[str, np.ndarray]:
    """Return OpenAI's entries ``visual.*``, in OpenAI's mixture of float16 and float32."""
    sizes = recipe["arch"]
    return _draw(_visual(**sizes), recipe["seed"])


def head_weights(recipe: dict, name: str) -> dict[str, np.ndarray]:
    """Return the entries of a head; ``name`` is "head" (one logit) or "head2" (two)."""
    return _draw(
        _head(recipe["arch"]["width"], **recipe[name]),
        recipe["head_seed"],
        lambda key: "attention_head." + (key if name == "head" else key.replace("fc.", "fc2.")),
    )


def digest(weights: dict[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        sha256.update(name.encode() + weights[name].tobytes())
    return sha256.hexdigest()


def _visual(width: int, layers: int, patch: int, image: int, embed: int) -> Iterator[Spec]:
    half, single = np.float16, np.float32
    tokens, area = (image // patch) ** 2 + 1, 3 * patch * patch
    yield "visual.class_embedding", (width,), 0, 0.6, single
    yield "visual.positional_embedding", (tokens, width), 0, 0.6, single
    yield "visual.proj", (width, embed), 0, 1 / sqrt(width), half
    yield "visual.conv1.weight", (width, 3, patch, patch), 0, 1 / sqrt(area), half
    for norm in ("ln_pre", "ln_post"):
        yield from _norm(f"visual.{norm}", width)
    for layer in range(layers):
        block = f"visual.transformer.resblocks.{layer}."
        narrow, depth = sqrt(width), sqrt(width * 2 * layers)
        yield block + "attn.in_proj_weight", (3 * width, width), 0, 1.5 / narrow, half
        yield block + "attn.in_proj_bias", (3 * width,), 0, 0.1, half
        yield block + "attn.out_proj.weight", (width, width), 0, 2 / depth, half
        yield block + "attn.out_proj.bias", (width,), 0, 0.02, half
        yield block + "mlp.c_fc.weight", (4 * width, width), 0, 1.5 / narrow, half
        yield block + "mlp.c_fc.bias", (4 * width,), 0, 0.2, half
        yield block + "mlp.c_proj.weight", (width, 4 * width), 0, 1 / depth, half
        yield block + "mlp.c_proj.bias", (width,), 0, 0.02, half
        for norm in ("ln_1", "ln_2"):
            yield from _norm(block + norm, width)


def _norm(name: str, width: int) -> Iterator[Spec]:
    yield f"{name}.weight", (width,), 1, 0.15, np.float32
    yield f"{name}.bias", (width,), 0, 0.1, np.float32


def _head(
    width: int, *, outputs: int, qk_gain: float, fc_gain: float, fc_bias: float | list[float]
) -> Iterator[Spec]:
    for name, gain in (("query", qk_gain), ("key", qk_gain), ("value", 1)):
        yield f"{name}.weight", (width, width), 0, gain / sqrt(width), np.float32
        yield f"{name}.bias", (width,), 0, 0.1, np.float32
    yield "fc.weight", (outputs, 2 * width), 0, fc_gain / sqrt(2 * width), np.float32
    yield "fc.bias", (outputs,), fc_bias, 0, np.float32


def _draw(specs: Iterator[Spec], seed: int, hashed=lambda name: name) -> dict[str, np.ndarray]:
    return {
        name: (mean + deviation * _unit(hashed(name), seed, prod(shape)))
        .astype(np.float32)  # rounded twice where it is stored in half
        .astype(dtype)
        .reshape(shape)
        for name, shape, mean, deviation, dtype in specs
    }


def _unit(name: str, seed: int, count: int) -> np.ndarray:
    """Return ``count`` doubles of mean 0 and variance 1: centred sums of four 16-bit numbers."""
    start = int(_mix(np.array([(_fnv(name) + seed * GAMMA) & MASK], np.uint64))[0])
    out = np.empty(count)
    steps = np.arange(1, min(count, CHUNK) + 1, dtype=np.uint64) * np.uint64(GAMMA)
    for low in range(0, count, CHUNK):
        bits = _mix(steps[: count - low] + np.uint64((start + low * GAMMA) & MASK))
        pairs = ((bits & PAIRS) + (bits >> np.uint64(16) & PAIRS)).view(np.uint32)
        out[low : low + len(bits)] = (pairs[::2] + pairs[1::2] - 131070.0) / 37837.0
    return out


def _fnv(text: str) -> int:
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
