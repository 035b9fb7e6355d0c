"""Find whether an image file is complete, before a pixel is decoded.

Decoders fill missing pixels with grey silently. A detector must not judge invented pixels, so a
picture with more than ``MAX_LOST`` of them is refused. JPEG and PNG are checked in modules of their
own.
"""

from __future__ import annotations

import re
import struct

from ..errors import DamagedImageError, ImageError, TruncatedImageError
from .formats import branded_format
from .gif import gif_is_whole
from .tiff import tiff_is_whole

_PICTURE = {b"meta", b"mdat", b"moov"}  # boxes without which AVIF and HEIC have no picture
_ZEROS = re.compile(rb"\0{64,}")
MAX_LOST = 0.01  # share of the pixels; a picture that lost more is refused


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
                raise damaged(branded_format(data) or "image")
        position += size
    return has_pixels and position <= len(data)


_CHECKS = {
    "GIF": gif_is_whole,
    "WEBP": _webp_is_whole,
    "TIFF": tiff_is_whole,
    "AVIF": _boxes_are_whole,
    "HEIC": _boxes_are_whole,
}
