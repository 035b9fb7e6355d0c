"""What the metadata of a picture claim, and how they turn it."""

from __future__ import annotations

from PIL import Image
from PIL.ExifTags import Base

MAX_CLAIM = 100  # characters of camera and of software


def claims_of(image: Image.Image) -> dict[str, str]:
    """Return camera and software of EXIF, or the software of a PNG; both are easily forged."""
    try:
        exif = image.getexif()
        make, model = _plain(exif.get(Base.Make)), _plain(exif.get(Base.Model))
        software = _plain(exif.get(Base.Software) or image.info.get("Software"))
    except Exception:  # damaged metadata
        return {}
    camera = model if model.startswith(make) else f"{make} {model}"
    return {"camera": camera[:MAX_CLAIM].strip(), "software": software[:MAX_CLAIM].strip()}


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of EXIF or XMP, 1 (upright) without one."""
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:  # damaged metadata do not matter to the pixels
        return 1


def _plain(text: object) -> str:
    """Keep printable characters only; cameras pad their names with zeros and spaces."""
    printable = (c if c.isprintable() else " " for c in text) if isinstance(text, str) else ()
    return " ".join("".join(printable).split())
