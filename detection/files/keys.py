"""Names of files: what a client calls an image, and what we call ours."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import PurePosixPath

MAX_LENGTH = 200  # characters of a client's name; leaves room for what we add to it
MAX_KEY_STEM = 60
NAMELESS = "image"


def clean_filename(name: str) -> str:
    """The last part of a client's file name, in any script, without control characters."""
    last = re.split(r"[/\\]", name)[-1]
    # Category C: control, formatting (which can reverse text), surrogates, unassigned
    visible = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    path = PurePosixPath(" ".join(visible.split()).strip(". ") or NAMELESS)
    suffix = path.suffix[:20]
    return path.stem[: MAX_LENGTH - len(suffix)] + suffix


def result_filename(*, original: str, moment: datetime) -> str:
    """For example ``result_20261122_120000_test.jpg``; ``original`` is a clean file name."""
    return f"result_{moment:%Y%m%d_%H%M%S}_{PurePosixPath(original).stem}.jpg"


def storage_key(*, folder: str, record_id: str, moment: datetime, filename: str) -> str:
    """Where a record's file is stored: plain ASCII, and never the key of another record."""
    path = PurePosixPath(filename)
    ascii_stem = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_stem).strip("-")[:MAX_KEY_STEM] or NAMELESS
    return f"{folder}/{moment:%Y/%m}/{record_id}_{stem}{path.suffix}"
