"""Read EXIF: texts that name a program, and facts about a camera."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image
from PIL.ExifTags import IFD, Base

from .metadata_blocks import MAX_EXIF

TEXTS = (Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.Artist)
_ENCODINGS = {b"UNICODE\0": "utf-16", b"ASCII\0\0\0": "utf-8", b"JIS\0\0\0\0\0": "iso2022_jp"}


@dataclass(slots=True)
class Exif:
    """Texts and facts about the camera, by names such as "UserComment" and "exposure"."""

    texts: dict[str, str] = field(default_factory=dict)
    camera: dict[str, str] = field(default_factory=dict)


def exif_of(block: bytes) -> Exif:
    """Read an EXIF block. Raises all kinds of errors for a damaged one."""
    found = Exif()
    if not block:
        return found
    exif = Image.Exif()
    exif.load(block[:MAX_EXIF])
    for tag in TEXTS:
        if isinstance(value := exif.get(tag), str) and value.strip("\0 "):
            found.texts[tag.name] = value.strip("\0 ")
    photograph = exif.get_ifd(IFD.Exif)
    if isinstance(comment := photograph.get(Base.UserComment), bytes):
        found.texts["UserComment"] = comment_text(comment)
    found.camera = _camera(exif, photograph)
    return found


def comment_text(value: bytes) -> str:
    """Decode a UserComment, whose first eight bytes name its encoding."""
    encoding = _ENCODINGS.get(value[:8])
    if encoding is None:
        return value.lstrip(b"\0").decode("utf-8", "replace").strip("\0 ")
    body = value[8:]
    if encoding == "utf-16":  # in either byte order: a Latin letter has a zero before or behind it
        encoding = "utf-16-le" if body[:1] != b"\0" and body[1:2] == b"\0" else "utf-16-be"
    return body.decode(encoding, "replace").strip("\0 ")


def _camera(exif: Image.Exif, photograph: dict) -> dict[str, str]:
    """Return facts about the camera; empty without make and model.

    Fields with braces are not a camera's: generators write settings into them.
    """
    names = (("make", Base.Make), ("model", Base.Model))
    facts = {name: str(exif.get(tag) or "").strip("\0 ") for name, tag in names}
    if not all(value and "{" not in value for value in facts.values()):
        return {}
    if (seconds := _number(photograph.get(Base.ExposureTime))) is not None:
        facts["exposure"] = f"1/{round(1 / seconds)} s" if 0 < seconds < 0.5 else f"{seconds:g} s"
    if (aperture := _number(photograph.get(Base.FNumber))) is not None:
        facts["aperture"] = f"f/{aperture:g}"
    if (length := _number(photograph.get(Base.FocalLength))) is not None:
        facts["focal_length"] = f"{length:g} mm"
    if isinstance(speed := photograph.get(Base.ISOSpeedRatings), int):
        facts["iso"] = str(speed)
    if Base.MakerNote in photograph:
        facts["maker_note"] = "present"
    return facts


def _number(value: object) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if 0 < number < 1e6 else None
