"""The project's settings, with everything it keeps in a folder that goes away with the tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = tempfile.TemporaryDirectory(prefix="d3-tests-")

os.environ.update(
    DATA_DIR=FOLDER.name,
    SECRET_KEY="only for tests, so that links are signed with a known key",
    DEBUG="false",
    ALLOWED_HOSTS="testserver,localhost",
    MODEL_CHECKPOINT_PATH=str(Path(FOLDER.name) / "tiny.safetensors"),
    CLIP_WEIGHTS="",
    DEVICE="cpu",
)

from d3site.settings import *  # noqa: E402, F403
