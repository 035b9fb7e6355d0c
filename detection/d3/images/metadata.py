"""Camera and software that the metadata of a picture claim."""

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


def _plain(text: object) -> str:
    """Return only the printable characters; cameras pad their names with zeros and spaces."""
    printable = (c if c.isprintable() else " " for c in text) if isinstance(text, str) else ()
    return " ".join("".join(printable).split())
