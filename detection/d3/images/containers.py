"""Find the type of an image file, and whether the file is complete, before a pixel is decoded.

Decoders fill missing pixels with grey silently. A detector must not judge invented pixels, so a
picture with more than ``MAX_LOST`` of them is refused. JPEG and PNG are checked in modules of their
own.
"""

from __future__ import annotations

import re
import struct

from ..errors import (
    DamagedImageError,
    ImageError,
    PolyglotImageError,
    TruncatedImageError,
    UnsupportedImageError,
)
from .gif import gif_is_whole
from .raw import check_signature
from .tiff import tiff_is_whole

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

# Other programs would run or unpack these. They are long enough to be rare among pixels.
_MARKUP = re.compile(rb"<(?:(?:script|html|iframe)[\s>/]|!doctype\s+html|\?php\s)", re.IGNORECASE)
_PDF = b"%PDF-"
_PDF_END = re.compile(rb"startxref|trailer")
_PDF_REACH = 1024  # bytes in which readers look for the header of a PDF
_ARCHIVES = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")

_PICTURE = {b"meta", b"mdat", b"moov"}  # boxes without which AVIF and HEIC have no picture
_ZEROS = re.compile(rb"\0{64,}")
MAX_LOST = 0.01  # share of the pixels; a picture that lost more is refused


def image_format(data: bytes) -> str:
    """Return one of ``FORMAT_NAMES``, by content alone. Raises UnsupportedImageError."""
    check_signature(data)
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature) and (name != "BMP" or _is_bmp(data)):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and (name := _branded_format(data)):
        return name
    raise UnsupportedImageError(
        "This file is not an image of a type that can be read "
        "(JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC)."
    )


def check_single(data: bytes, without_texts: bytes) -> None:
    """Raise PolyglotImageError if another program would run or unpack the file.

    A picture may have a trailer: phones append films and depth maps to photographs. The texts of
    its metadata may hold markup, since generators store prompts there: ``without_texts`` is the
    file without them.
    """
    if _MARKUP.search(without_texts):
        raise _polyglot("a web page or a script")
    if _PDF in data[:_PDF_REACH] and _PDF_END.search(data):
        raise _polyglot("a PDF document")
    if any(signature in data for signature in _ARCHIVES) or _is_zip(data):
        raise _polyglot("an archive")


def _polyglot(what: str) -> PolyglotImageError:
    return PolyglotImageError(f"This file is an image and {what} at the same time.")


def _is_zip(data: bytes) -> bool:
    """Return whether the file ends as a ZIP archive; any bytes may precede an archive.

    The end record (APPNOTE.TXT 4.3.16) must reach to the last byte and lie behind its directory.
    """
    end = data.rfind(b"PK\x05\x06", -(2**16 + 22))
    if end < 0 or len(data) < end + 22:
        return False
    size, _, comment = struct.unpack_from("<IIH", data, end + 12)
    if end + 22 + comment != len(data):
        return False
    return size == 0 or (size <= end and data.startswith(b"PK\x01\x02", end - size))


def check_whole(data: bytes, name: str) -> None:
    """Raise TruncatedImageError if the file ends before its own structure does.

    BMP has no reliable end; its decoder counts the rows itself. Of a TIFF only the first page is
    decoded, so only that page is checked. Raises DamagedImageError if coded pixels of an AVIF or
    HEIC were overwritten with zeros.
    """
    check = _CHECKS.get(name)
    try:
        whole = check is None or check(data)
    except (IndexError, OverflowError, struct.error):  # an offset lies behind the last byte
        whole = False
    if not whole:
        raise truncated(name)


def truncated(name: str) -> TruncatedImageError:
    return TruncatedImageError(f"This {name} file ends too early: a part of the image is missing.")


def damaged(name: str) -> DamagedImageError:
    return DamagedImageError(f"This {name} file is damaged: a part of its pixels is lost or wrong.")


def undecodable(name: str) -> ImageError:
    return ImageError(f"This {name} file is damaged, or of a variant that cannot be decoded.")


def _is_bmp(data: bytes) -> bool:
    """Check the header's size too: two letters are a weak signature, and texts begin with BM."""
    return len(data) >= 18 and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES


def _branded_format(data: bytes) -> str | None:
    """Return the format of the first known brand: the major brand ``mif1`` does not name one."""
    end = min(int.from_bytes(data[:4], "big"), 512)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def _webp_is_whole(data: bytes) -> bool:
    (size,) = struct.unpack_from("<I", data, 4)
    return 8 + size <= len(data)


def _boxes_are_whole(data: bytes) -> bool:
    """Follow the top-level boxes of AVIF and HEIC; anything but a box is an appended trailer.

    Raises DamagedImageError if a part of the coded pixels was overwritten with zeros: coders
    never write so many in a row.
    """
    position, has_pixels = 0, False
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size < 8 or not kind.isalnum():
            return True
        if has_pixels and kind not in _PICTURE and position + size > len(data):  # a trailer, no box
            return True
        has_pixels |= kind == b"mdat"
        if kind == b"mdat":
            coded = data[position : position + size]
            lost = sum(len(zeros) for zeros in _ZEROS.findall(coded))
            if lost > MAX_LOST * len(coded):
                raise damaged(_branded_format(data) or "image")
        position += size
    return has_pixels and position <= len(data)


_CHECKS = {
    "GIF": gif_is_whole,
    "WEBP": _webp_is_whole,
    "TIFF": tiff_is_whole,
    "AVIF": _boxes_are_whole,
    "HEIC": _boxes_are_whole,
}
