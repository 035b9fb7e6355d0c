"""Find coded pictures of a HEIC whose data are wrong.

libheif drops the warnings of its decoder, libde265, so wrong data are decoded silently. Here
libde265 decodes the pictures a second time, and its warnings are read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import _pillow_heif
import numpy as np

from .bound_library import bound_library
from .heif_items import CodedPicture, coded_pictures
from .wholeness import damaged

_Number, _Pointer, _Bytes = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_NumberOut = ctypes.POINTER(_Number)
# Name, type of the result and types of the arguments of each function
_FUNCTIONS = (
    ("de265_new_decoder", _Pointer),
    ("de265_free_decoder", _Number, _Pointer),
    ("de265_push_NAL", _Number, _Pointer, _Bytes, _Number, ctypes.c_int64, _Pointer),
    ("de265_flush_data", _Number, _Pointer),
    ("de265_decode", _Number, _Pointer, _NumberOut),
    ("de265_get_warning", _Number, _Pointer),
    ("de265_get_next_picture", _Pointer, _Pointer),
    ("de265_get_image_plane", _Pointer, _Pointer, _Number, _NumberOut),
    ("de265_get_image_width", _Number, _Pointer, _Number),
    ("de265_get_image_height", _Number, _Pointer, _Number),
    ("de265_get_bits_per_pixel", _Number, _Pointer, _Number),
    ("de265_get_chroma_format", _Number, _Pointer),
)

# libde265's warnings: data behind the end of a picture or without an end, impossible values, and
# blocks outside the picture
_DAMAGE = {4, 6, 8, 1002, 1004, 1017, 1034}
_SUBSAMPLED = (1, 2)  # chroma formats
_BLOCK = 8  # luma samples: the side of the smallest block that decoders write


def check_heic(data: bytes) -> None:
    """Raise ``DamagedImageError`` if the data of a coded picture are wrong.

    The file must have been decoded before, since sizes are not checked again. Nothing is checked if
    pillow-heif was built in such a way that libde265 cannot be called through it.
    """
    if not (library := bound_library(_pillow_heif.__file__, *_FUNCTIONS)):
        return
    for picture in coded_pictures(data):
        with _decoder(library) as decoder:
            images = _decoded(library, decoder, picture)
            is_whole = all(_is_decoded(library, image, picture.shown) for image in images)
            warnings = set(iter(lambda: library.de265_get_warning(decoder), 0))
        if not is_whole or warnings & _DAMAGE:
            raise damaged("HEIC")


@contextmanager
def _decoder(library: ctypes.CDLL) -> Iterator[int]:
    decoder = library.de265_new_decoder()
    try:
        yield decoder
    finally:
        library.de265_free_decoder(decoder)


def _decoded(library: ctypes.CDLL, decoder: int, picture: CodedPicture) -> Iterator[int]:
    """Yield libde265's pictures; each is valid until the next one."""
    for unit in _units(picture):
        library.de265_push_NAL(decoder, unit, len(unit), 0, None)
    library.de265_flush_data(decoder)
    more = ctypes.c_int(1)
    while more.value and library.de265_decode(decoder, more) == 0:
        while image := library.de265_get_next_picture(decoder):
            yield image


def _units(picture: CodedPicture) -> Iterator[bytes]:
    """Yield the NAL units of the bitstream (ISO 14496-15), the headers first."""
    header, position = picture.configuration, 23
    for _ in range(header[22] if len(header) > 22 else 0):
        count = int.from_bytes(header[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            unit, position = _unit(header, position, 2)
            yield unit
    size, position = (header[21] & 3) + 1 if len(header) > 21 else 4, 0
    while position + size <= len(picture.data):
        unit, position = _unit(picture.data, position, size)
        yield unit


def _unit(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    """Return the unit at ``position``, without its length in ``size`` bytes, and its end."""
    start = position + size
    end = start + int.from_bytes(data[position:start], "big")
    return data[start:end], end


def _is_decoded(library: ctypes.CDLL, image: int, shown: tuple[int, int] | None) -> bool:
    """Return False if the decoder never wrote some blocks.

    All samples of such a block are zero, which is no visible colour in YCbCr. Grey pictures and
    those without subsampling, which may be RGB, are not checked: there zeros may be black.
    """
    if library.de265_get_chroma_format(image) not in _SUBSAMPLED:
        return True
    planes = [_plane(library, image, channel) for channel in range(3)]
    height, width = planes[0].shape
    right, bottom = shown or (width, height)
    rows = max(min(bottom, height) // _BLOCK, 0)
    columns = max(min(right, width) // _BLOCK, 0)
    written = np.zeros((rows, columns), bool)
    for plane in planes:
        down, across = round(height / plane.shape[0]), round(width / plane.shape[1])
        tall, wide = _BLOCK // down, _BLOCK // across
        whole = plane[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide)
        written |= whole.any(axis=(1, 3))
    return bool(written.all())


def _plane(library: ctypes.CDLL, image: int, channel: int) -> np.ndarray:
    """Return the samples uint8 or uint16 (H, W) in libde265's own memory."""
    stride = ctypes.c_int()
    address = library.de265_get_image_plane(image, channel, stride)
    height = library.de265_get_image_height(image, channel)
    width = library.de265_get_image_width(image, channel)
    samples = np.ctypeslib.as_array(
        (ctypes.c_uint8 * (height * stride.value)).from_address(address)
    )
    is_wide = library.de265_get_bits_per_pixel(image, channel) > 8
    return samples.view(np.uint16 if is_wide else np.uint8).reshape(height, -1)[:, :width]
