"""What every self-contained HTML report is made of: one style sheet, and pictures as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from .decoding import DEFAULT_LIMITS, ImageLimits, decode_image

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "report.css").read_text(encoding="utf-8")
THUMBNAIL = (192, 192)  # pixels at most


def thumbnail(path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> str:
    """A small JPEG of the upright image as a data URI. Raises ImageError."""
    image = decode_image(path, limits).pixels
    image.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
