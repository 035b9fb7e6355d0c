"""Find CLIP's weights: in a file, at an address, or as OpenAI publishes them."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch

from ..errors import CheckpointError
from .header import read_safetensors_metadata
from .weight_files import OPENAI_ARCHIVES, sha256_of

# By the width of the features: OpenAI's model, and the copy of its weights on Hugging Face
OPENAI_MODELS = {
    768: ("ViT-B-16", "vit_base_patch16_clip_224.openai"),
    1024: ("ViT-L-14", "vit_large_patch14_clip_224.openai"),
}
OPENAI = "https://openaipublic.azureedge.net/clip/models/{checksum}/{model}.pt"
HUGGING_FACE = "https://huggingface.co/timm/{copy}/resolve/main/open_clip_model.safetensors"


def find_clip_file(source: str | Path, *, width: int) -> Path:
    """Return the file that ``source`` names, downloaded into PyTorch's cache if necessary.

    ``source`` is a path, an address ``https://…#sha256=<64 digits>``, or "openai" for the tower
    whose features have ``width`` values: ViT-L/14 for 1024, ViT-B/16 for 768.
    Raises CheckpointError.
    """
    if source == "openai":
        return _download_openai(width)
    if not str(source).startswith(("http://", "https://")):
        return Path(source)
    address, _, checksum = str(source).partition("#sha256=")
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise CheckpointError(
            f"The address {address} of the CLIP weights needs their checksum: #sha256=<64 digits>."
        )
    return _download(address, f"{checksum[:16]}-{PurePosixPath(address).name}", checksum)


def _download_openai(width: int) -> Path:
    if width not in OPENAI_MODELS:
        raise CheckpointError(f"OpenAI has no CLIP whose features have {width} values.")
    model, copy = OPENAI_MODELS[width]
    with suppress(CheckpointError):  # then OpenAI's own server is tried
        return _download_copy(copy)
    checksum = OPENAI_ARCHIVES[model]
    return _download(OPENAI.format(checksum=checksum, model=model), f"{model}.pt", checksum)


def _download_copy(copy: str) -> Path:
    """Return the downloaded copy; delete a damaged one, since its right checksum is not known."""
    file = _download(HUGGING_FACE.format(copy=copy), f"{copy}.safetensors")
    try:
        read_safetensors_metadata(file)
    except CheckpointError:
        file.unlink(missing_ok=True)
        raise
    return file


def _download(address: str, name: str, checksum: str | None = None) -> Path:
    """Return the file ``name`` in the cache; download it unless it exists with this checksum."""
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    target = cache / name
    if target.is_file() and (checksum is None or sha256_of(target) == checksum):
        return target
    try:
        urlsplit(address)  # raises ValueError, before PyTorch leaves a partial file behind
        cache.mkdir(parents=True, exist_ok=True)
        progress = sys.stderr.isatty()
        torch.hub.download_url_to_file(address, str(target), checksum, progress=progress)
    except RuntimeError as error:
        raise CheckpointError(f"The file at {address} has another checksum.") from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(f"{address} cannot be downloaded: {reason}.") from error
    return target
