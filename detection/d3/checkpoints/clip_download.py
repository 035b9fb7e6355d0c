"""Where CLIP's weights come from: a file, an address, or OpenAI."""

from __future__ import annotations

import importlib
import re
import shutil
import tempfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.request import urlopen

import torch
from tqdm import tqdm

from ..errors import CheckpointError
from .open_clip import import_open_clip
from .tensors import sha256_of

# What "openai" means for a head: open_clip's names, by the width of the features
OPENAI_MODELS = {768: "ViT-B-16", 1024: "ViT-L-14"}
TIMEOUT = 60  # seconds without a byte


def find_clip_file(source: str | Path, *, width: int) -> Path:
    """The file that ``source`` means, downloaded into PyTorch's cache where that is needed.

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
        except OSError:  # Hugging Face's copy is not there; OpenAI's own server may be
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
    if not (target.is_file() and sha256_of(target) == checksum):
        try:
            _fetch(address, checksum, target)
        except (OSError, ValueError, HTTPException) as error:
            raise CheckpointError(f"{address} cannot be downloaded: {_reason(error)}.") from error
    return target


def _fetch(address: str, checksum: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / target.name
        with urlopen(address, timeout=TIMEOUT) as response, part.open("wb") as file:
            size = int(response.headers.get("Content-Length", 0)) or None
            with tqdm.wrapattr(response, "read", total=size, disable=None) as source:
                shutil.copyfileobj(source, file)
        if sha256_of(part) != checksum:
            raise CheckpointError(f"What {address} sends has another checksum.")
        part.replace(target)


def _reason(error: Exception) -> object:
    return getattr(error, "reason", None) or error
