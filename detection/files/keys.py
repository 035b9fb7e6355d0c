"""Names of files: the names that clients give, and the keys of stored files."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import PurePosixPath

FOLDERS = ("results", "originals", "heatmaps")  # of the storage, with the files of predictions
TEMPORARY = "health"  # the folder of a health check's file, which may stay after a kill
MAX_LENGTH = 200  # characters of a clean file name: names made from it are longer
MAX_KEY_STEM = 60
NAMELESS = "image"
EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif"}  # other formats have their own name as extension


def clean_filename(name: str) -> str:
    """Return the last part of a client's file name, in any script, without control characters."""
    last = " ".join(re.split(r"[/\\]", name)[-1].split())  # also without line feeds
    # Category C: control, formatting (which can reverse text), surrogates, unassigned
    visible = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    path = PurePosixPath(" ".join(visible.split()).strip(". ") or NAMELESS)
    suffix = path.suffix[:20]
    return path.stem[: MAX_LENGTH - len(suffix)] + suffix


def searched_text(text: str) -> str:
    """Return a text as searches compare it: without case, in one Unicode form."""
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)


def extension(image_format: str) -> str:
    """Return for example ``jpg`` for ``JPEG``."""
    return EXTENSIONS.get(image_format, image_format.lower())


def original_filename(filename: str, *, image_format: str) -> str:
    """Return a clean file name with the extension of the format that the file really has."""
    return f"{PurePosixPath(filename).stem}.{extension(image_format)}"


def result_filename(*, original: str, moment: datetime) -> str:
    """Return for example ``result_20261122_120000_test.jpg``; ``original`` is a clean file name."""
    return f"result_{moment:%Y%m%d_%H%M%S}_{PurePosixPath(original).stem}.jpg"


def storage_key(*, folder: str, record_id: str, moment: datetime, filename: str) -> str:
    """Return the key of a record's file: in plain ASCII, and different from those of all other
    records.
    """
    path = PurePosixPath(filename)
    ascii_stem = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_stem).strip("-")[:MAX_KEY_STEM] or NAMELESS
    return f"{folder}/{moment:%Y/%m}/{record_id}_{stem}{path.suffix}"
