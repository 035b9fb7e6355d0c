"""Find the format of an image file by its content."""

from __future__ import annotations

from ..errors import UnsupportedImageError
from .raw import check_signature

FORMAT_NAMES = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIC")

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II\x2a\x00": "TIFF",
    b"MM\x00\x2a": "TIFF",
    b"II\x2b\x00": "TIFF",
    b"MM\x00\x2b": "TIFF",
}
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_BRANDS = dict.fromkeys((b"avif", b"avis"), "AVIF") | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"
)


def image_format(data: bytes) -> str:
    """Return one of ``FORMAT_NAMES``, by content alone. Raises UnsupportedImageError."""
    check_signature(data)
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature) and (name != "BMP" or _is_bmp(data)):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and (name := branded_format(data)):
        return name
    raise UnsupportedImageError(
        "This file is not an image of a type that can be read "
        "(JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC)."
    )


def _is_bmp(data: bytes) -> bool:
    """Check the header's size too: two letters are a weak signature, and texts begin with BM."""
    return len(data) >= 18 and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES


def branded_format(data: bytes) -> str | None:
    """Return the format of the first known brand: the major brand ``mif1`` does not name one."""
    end = min(int.from_bytes(data[:4], "big"), 512)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
