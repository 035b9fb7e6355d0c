"""The orientation of a picture by its EXIF or XMP."""

from __future__ import annotations

from PIL import Image
from PIL.ExifTags import Base

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that makes an opened picture upright, or None for an upright picture."""
    try:
        return _TURNS.get(image.getexif().get(Base.Orientation))
    except Exception:  # damaged metadata do not matter to the pixels
        return None
