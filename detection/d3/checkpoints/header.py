"""Read the metadata of a checkpoint file, without PyTorch and without the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from .file_kind import file_kind
from .scorecard import SCORECARD_KEY, Scorecard
from .tower_file import TowerFile

FORMAT = "d3-detector/1"
MAX_PERMUTATIONS = 256  # each costs one more pass for each image

# Every field of our metadata and its JSON types. bool does not count as int.
FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "version": (str,),
    "architecture": (dict,),
    "preprocessing": (dict,),
    "permutation_seed": (int,),
    "permutations": (int,),
    "threshold": (int, float),
    "uncertain": (list,),
    "temperature": (int, float),
    "min_side": (int,),
    "metrics": (dict,),
    "training": (dict,),
    "tower_file": (dict,),
}
OPTIONAL = {"tower_file", "min_side"}


def describe(path: str | Path) -> dict[str, Any]:
    """Describe a checkpoint file without reading its weights.

    For our own format return all of its metadata, with ``format`` "d3-detector/1"; for others only
    ``format``: "safetensors", "torch" or "torchscript". Raises CheckpointError.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind == "safetensors" and is_ours(stored := read_safetensors_metadata(path)):
        return {"format": FORMAT, **read_metadata(path, stored)}
    return {"format": kind}


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """Read the metadata as stored.

    Raises CheckpointError if the header is damaged, or says another length than the file has.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        if "file not fully covered" in str(error):
            raise CheckpointError(f"The checkpoint {path} is truncated or damaged.") from error
        raise CheckpointError(f"The checkpoint {path} has a damaged header.") from error


def is_ours(metadata: dict[str, str]) -> bool:
    """Return whether the metadata are of our format, in any version."""
    return metadata.get("format", "").startswith("d3-detector/")


def read_metadata(path: Path, stored: dict[str, str]) -> dict[str, Any]:
    """Decode and check our metadata. Raises CheckpointError with the first problem."""
    stored = dict(stored)
    if (found := stored.pop("format")) != FORMAT:
        raise CheckpointError(
            f"The checkpoint {path} has format {found}; only {FORMAT} can be read."
        )
    if unknown := sorted(stored.keys() - FIELDS.keys()):
        raise CheckpointError(f"The checkpoint {path} has an unknown field {unknown[0]!r}.")
    names = [name for name in FIELDS if name in stored or name not in OPTIONAL]
    metadata = {name: _decode(path, name, stored) for name in names}
    if problem := value_problem(metadata):
        raise CheckpointError(f"The checkpoint {path} is not valid: {problem}.")
    return metadata


def _decode(path: Path, name: str, stored: dict[str, str]) -> Any:
    if name not in stored:
        raise CheckpointError(f"The checkpoint {path} lacks the field {name!r}.")
    try:
        value = json.loads(stored[name])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The field {name!r} of {path} is not valid JSON.") from error
    if not isinstance(value, FIELDS[name]) or isinstance(value, bool):
        raise CheckpointError(f"The field {name!r} of {path} has the wrong type.")
    return value


def value_problem(metadata: dict[str, Any]) -> str | None:
    """Return the first problem of the values, as the end of a sentence, or None."""
    band = metadata["uncertain"]
    if not 1 <= metadata["permutations"] <= MAX_PERMUTATIONS:
        return f"the number of permutations must lie between 1 and {MAX_PERMUTATIONS}"
    if not 0 <= metadata["threshold"] <= 1:
        return "the threshold must lie between 0 and 1"
    if len(band) != 2 or not all(isinstance(end, int | float) for end in band):
        return "the uncertain band needs two numbers"
    if not 0 <= band[0] <= band[1] <= 1:
        return "the uncertain band must lie between 0 and 1"
    if not (metadata["temperature"] > 0 and math.isfinite(metadata["temperature"])):
        return "the temperature must be a positive number"
    if metadata.get("min_side", 0) < 0:
        return "the smallest side must not be negative"
    metrics, tower_file = metadata["metrics"], metadata.get("tower_file")
    if SCORECARD_KEY in metrics and not _accepts(Scorecard.from_dict, metrics[SCORECARD_KEY]):
        return "the measurement on a test split lacks something, or has no valid bins"
    if tower_file is not None and not _accepts(lambda values: TowerFile(**values), tower_file):
        return "the tower's file needs a name and a SHA-256"
    return None


def _accepts(read: Callable[[Any], object], values: Any) -> bool:
    try:
        read(values)
    except (ValueError, TypeError, LookupError):
        return False
    return True
