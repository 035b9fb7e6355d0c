"""Read files of weights, which are not trusted: no code in them is run."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CheckpointError
from .file_kind import file_kind
from .header import read_safetensors_metadata

# SHA-256 of the archives that OpenAI publishes, by their models
OPENAI_ARCHIVES = {
    "ViT-B-16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L-14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
}

# Keys under which training scripts store the weights
_WRAPPINGS = ("model", "state_dict", "model_state_dict")
_HALVES = (torch.float16, torch.bfloat16)


def read_entries(path: Path, *, trust_torchscript: bool = False) -> dict[str, Any]:
    """Return the entries of a safetensors file, a ``torch.save`` file or a TorchScript archive.

    Tensors are on the CPU; an entry may also be something else than a tensor. The dictionary that a
    training script wraps around the weights is removed. A TorchScript archive is a program, so only
    OpenAI's own archives are opened, unless ``trust_torchscript``. Raises CheckpointError.
    """
    kind = file_kind(path)
    if kind == "torchscript":
        return _read_torchscript(path, trusted=trust_torchscript)
    entries = _unwrapped(_read_torch(path)) if kind == "torch" else _read_safetensors(path)
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise CheckpointError(f"The file {path} does not hold a dictionary of weights.")
    return entries


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fitting_weights(
    path: Path, expected: dict[str, Tensor], found: dict[str, Any], *, prefix: str = ""
) -> dict[str, Tensor]:
    """Check ``found`` against ``expected`` (meta tensors suffice), and return it in float32.

    ``prefix`` precedes each name in the file. Raises CheckpointError about the first entry that is
    missing, unknown, not a tensor, of another type or shape, or not finite.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointError(f"The checkpoint {path} lacks the weights '{prefix}{missing[0]}'.")
    if unknown := sorted(found.keys() - expected.keys()):
        raise CheckpointError(f"The checkpoint {path} has unknown weights '{prefix}{unknown[0]}'.")
    return {
        name: _fitting(f"'{prefix}{name}' of {path}", found[name], like)
        for name, like in expected.items()
    }


def _fitting(name: str, tensor: Any, like: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"The entry {name} is a {type(tensor).__name__}, not weights.")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_nested:
        raise CheckpointError(f"The weights {name} are not an ordinary array of numbers.")
    if tensor.dtype != like.dtype and (tensor.dtype not in _HALVES or like.dtype != torch.float32):
        raise CheckpointError(f"The weights {name} are {tensor.dtype} instead of {like.dtype}.")
    if tensor.shape != like.shape:
        found, wanted = tuple(tensor.shape), tuple(like.shape)
        raise CheckpointError(f"The weights {name} have shape {found} instead of {wanted}.")
    if not _all_finite(tensor):
        raise CheckpointError(f"The weights {name} are not all finite numbers.")
    return tensor.detach().to(like.dtype).contiguous()


def _all_finite(tensor: Tensor) -> bool:
    """Check the sum first: that is fifty times as fast, and the sum of usual weights is finite."""
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    read_safetensors_metadata(path)  # its errors are plainer than the library's
    try:
        # Tensors of the mapped file would change when another process overwrites the file.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path) from error


def _read_torch(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # given a path, PyTorch would trust the ending of its name
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The file {path} holds objects other than weights, which could run code."
        ) from error
    except Exception as error:  # hostile bytes raise errors of all kinds
        raise _damaged(path) from error


def _read_torchscript(path: Path, *, trusted: bool) -> dict[str, Tensor]:
    if not trusted and sha256_of(path) not in OPENAI_ARCHIVES.values():
        raise CheckpointError(
            f"The file {path} is a TorchScript archive, which is a program, and not one that "
            "OpenAI publishes; import it with --trust-torchscript if you trust its author."
        )
    try:
        return torch.jit.load(path, map_location="cpu").state_dict()
    except Exception as error:
        raise _damaged(path) from error


def _unwrapped(entries: Any) -> Any:
    for _ in range(2):
        inner = [entries.get(name) for name in _WRAPPINGS] if isinstance(entries, dict) else []
        entries = next((value for value in inner if isinstance(value, dict)), entries)
    return entries


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is truncated or damaged.")
