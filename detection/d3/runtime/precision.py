"""Choose a detector's precision: the fastest one that hardly changes the scores of fp32."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ..errors import D3Error

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MAX_SCORE_DIFFERENCE = 0.01  # from the scores in fp32
TRIALS = 3  # pictures


def check_precision(name: str) -> None:
    """Raise D3Error for an unknown precision."""
    if name != "auto" and name not in DTYPES:
        raise D3Error(f"The precision must be auto, fp32, fp16 or bf16, not {name!r}.")


def fastest_precision(device: torch.device) -> str:
    """Return the fastest precision by the hardware's abilities, "fp16", "bf16" or "fp32".

    Speed is not measured, since a measurement would depend on other processes. fp16 has more digits
    than bf16 and is as fast on a GPU; a CPU multiplies in bf16 or in fp32.
    """
    if device.type == "cuda":  # from compute capability 7.0 on, with tensor cores
        return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
    return "bf16" if cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """Return whether the CPU has matrix products in bf16; emulation is far slower than fp32.

    PyTorch lists the CPU's abilities; oneDNN says which of them are allowed
    (``ONEDNN_MAX_CPU_ISA``).
    """
    abilities = torch.cpu.get_capabilities()
    listed = abilities.get("amx_bf16") or abilities.get("avx512_bf16")
    usable = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(listed and usable)


def training_autocast(device: torch.device) -> torch.autocast:
    """Return a context for a forward pass in bf16, or in fp32 on a CPU without bf16."""
    enabled = device.type != "cpu" or cpu_has_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def trial_pictures(size: int) -> list[Image.Image]:
    """Return a few pictures to compare precisions: soft shapes under noise, the same each time."""
    random = np.random.default_rng(0)
    return [_trial_picture(size, random, grain=4 * number) for number in range(1, TRIALS + 1)]


def _trial_picture(size: int, random: np.random.Generator, *, grain: int) -> Image.Image:
    coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
    shapes = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    noise = random.integers(-grain, grain + 1, shapes.shape)
    return Image.fromarray(np.clip(shapes + noise, 0, 255).astype(np.uint8))
