"""Write files completely or not at all, and say why a file cannot be read or written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which replaces ``path`` when the block succeeds.

    When the block raises, ``path`` stays as it was and the temporary file is deleted. The folder
    must exist. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def reason(error: Exception) -> str:
    """Return why a file cannot be read or written, as the end of a sentence without a full stop."""
    words = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
    return words.lower()
