"""The style sheet and the thumbnails of self-contained HTML reports."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
THUMBNAIL = (192, 192)  # pixels at most


def thumbnail(image: Image.Image) -> str:
    """Return a small JPEG of the upright RGB ``image`` as a data URI."""
    small = image.copy()
    small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
