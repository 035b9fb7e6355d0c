"""Decode a WebP in a way that reveals wrong data.

With wrong data the decoder reaches the last pixel too early, or never. libwebp stops at the last
pixel and ignores the rest; only its incremental decoder, which Pillow does not use, shows whether
the rest was needed.
"""

from __future__ import annotations

import ctypes
import struct

import numpy as np
from PIL import _webp

from .bound_library import bound_library
from .wholeness import damaged

_Number, _Size, _Pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
# Name, type of the result and types of the arguments of each function
_FUNCTIONS = (
    ("WebPINewRGB", _Pointer, _Number, _Pointer, _Size, _Number),
    ("WebPIUpdate", _Number, _Pointer, ctypes.c_char_p, _Size),
    ("WebPIDelete", None, _Pointer),
)
_RGBA = 1
_DONE, _SUSPENDED = 0, 5
_LAST = 16  # bytes, of which a whole picture needs some: decoders read ahead, encoders pad
# A lossy picture has up to eight partitions, in turn for rows of 16 pixels. In lower pictures the
# last partition may be empty.
_MIN_HEIGHT = 128


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height from the header, since opening a WebP allocates its whole canvas."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return _u24(body, 4) + 1, _u24(body, 7) + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def decode_webp(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """Return samples uint8 (H, W, 4), or None.

    None is for animations, low pictures, data that cannot be decoded, and a Pillow that was built
    in such a way that libwebp cannot be called through it.

    Raise ``DamagedImageError`` if the last bytes of the coded pixels are not needed.
    """
    end, library = _pixels_end(data), bound_library(_webp.__file__, *_FUNCTIONS)
    if end is None or size[1] < _MIN_HEIGHT or not library:
        return None
    samples = np.empty((size[1], size[0], 4), np.uint8)
    decoder = library.WebPINewRGB(_RGBA, samples.ctypes.data, samples.nbytes, samples.strides[0])
    try:
        status = library.WebPIUpdate(decoder, data, end - _LAST)
        if status == _DONE:
            raise damaged("WEBP")
        if status == _SUSPENDED:
            status = library.WebPIUpdate(decoder, data, len(data))
    finally:
        library.WebPIDelete(decoder)
    return samples if status == _DONE else None


def _pixels_end(data: bytes) -> int | None:
    """Return the position behind the coded picture; None for an animation or a cut picture."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        position += 8 + length
        if kind == b"ANIM":
            return None
        if kind in (b"VP8 ", b"VP8L"):
            return position if position <= len(data) else None
        position += length & 1
    return None


def _u24(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")
