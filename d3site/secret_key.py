"""The secret key of an installation without configuration."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def stored_secret_key(path: Path) -> str:
    """Return the key in the file ``path``. The first call creates the file, for its owner only."""
    if not path.exists():
        _create(path, get_random_secret_key())
    return path.read_text().strip()


def _create(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A link is made in one step, so two processes that start together read the same key.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key-") as draft:
        draft.write(key)
        draft.flush()
        try:
            os.link(draft.name, path)
        except FileExistsError:
            return
