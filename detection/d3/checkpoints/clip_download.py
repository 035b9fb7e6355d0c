"""Find CLIP's weights: in a file, at an address, or at OpenAI."""

from __future__ import annotations

import importlib
import re
import sys
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import torch

from ..errors import CheckpointError
from .open_clip import import_open_clip
from .tensors import sha256_of

OPENAI_MODELS = {768: "ViT-B-16", 1024: "ViT-L-14"}  # open_clip's names, by width of the features


def find_clip_file(source: str | Path, *, width: int) -> Path:
    """Return the file of ``source``, after a download into PyTorch's cache if necessary.

    ``source`` is a path, an address ``https://…#sha256=<64 digits>``, or "openai" for the tower
    whose features have ``width`` values: ViT-L/14 for 1024, ViT-B/16 for 768.
    Raises CheckpointError.
    """
    if source == "openai":
        return _download_openai(width)
    if str(source).startswith(("http://", "https://")):
        return _download(str(source))
    return Path(source)


def _download_openai(width: int) -> Path:
    if width not in OPENAI_MODELS:
        raise CheckpointError(f"OpenAI has no CLIP whose features have {width} values.")
    import_open_clip()
    pretrained = importlib.import_module("open_clip.pretrained")
    source = pretrained.get_pretrained_cfg(OPENAI_MODELS[width], "openai")
    try:
        try:
            return Path(pretrained.download_pretrained(source))
        except OSError:  # no copy on Hugging Face; OpenAI's own server may have the file
            return Path(pretrained.download_pretrained(source, prefer_hf_hub=False))
    except (OSError, RuntimeError, HTTPException) as error:
        raise CheckpointError(
            f"OpenAI's CLIP weights cannot be downloaded: {_reason(error)}."
        ) from error


def _download(url: str) -> Path:
    address, _, checksum = url.partition("#sha256=")
    if not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise CheckpointError(
            f"The address {address} of the CLIP weights needs their checksum: #sha256=<64 digits>."
        )
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    target = cache / f"{checksum[:16]}-{PurePosixPath(address).name}"
    if target.is_file() and sha256_of(target) == checksum:
        return target
    try:
        urlsplit(address)  # raises ValueError, before PyTorch leaves a partial file behind
        cache.mkdir(parents=True, exist_ok=True)
        progress = sys.stderr.isatty()
        torch.hub.download_url_to_file(address, str(target), checksum, progress=progress)
    except RuntimeError as error:
        raise CheckpointError(f"The file at {address} has another checksum.") from error
    except (OSError, ValueError, HTTPException) as error:
        raise CheckpointError(f"{address} cannot be downloaded: {_reason(error)}.") from error
    return target


def _reason(error: Exception) -> object:
    return getattr(error, "reason", None) or error
