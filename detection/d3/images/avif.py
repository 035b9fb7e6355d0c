"""Whether the coded pictures of an AVIF make sense to their end.

The data of each tile of a picture end with a bit that its symbols must reach exactly. Data that
were changed still have a meaning, but miss it. libavif does not ask dav1d to look, so a second
decoding does.
"""

from __future__ import annotations

import ctypes

from PIL import _avif

from .bound_library import bound_library
from .containers import damaged
from .heif_items import coded_pictures

_Pointer, _PointerOut = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
# Each function with what it returns and takes.
_FUNCTIONS = (
    ("dav1d_version_api", ctypes.c_uint),
    ("dav1d_default_settings", None, _Pointer),
    ("dav1d_open", ctypes.c_int, _PointerOut, _Pointer),
    ("dav1d_close", None, _PointerOut),
    ("dav1d_data_create", _Pointer, _Pointer, ctypes.c_size_t),
    ("dav1d_data_unref", None, _Pointer),
    ("dav1d_send_data", ctypes.c_int, _Pointer, _Pointer),
    ("dav1d_get_picture", ctypes.c_int, _Pointer, _Pointer),
    ("dav1d_picture_unref", None, _Pointer),
)
_API = 7  # the first number of the version whose settings are as below
_Structure = ctypes.c_byte * 4096  # more than any of dav1d's


class _Settings(ctypes.Structure):
    """The first of dav1d's settings; the others stay as they are."""

    _fields_ = (
        ("threads", ctypes.c_int),
        ("frame_delay", ctypes.c_int),
        ("grain", ctypes.c_int),
        ("operating_point", ctypes.c_int),
        ("all_layers", ctypes.c_int),
        ("frame_size_limit", ctypes.c_uint),
        ("allocator", ctypes.c_void_p * 3),
        ("logger", ctypes.c_void_p * 2),
        ("strict", ctypes.c_int),
        ("invisible_frames", ctypes.c_int),
        ("filters", ctypes.c_int),
        ("others", _Structure),
    )


def check_avif(data: bytes) -> None:
    """Raise ``DamagedImageError`` if a coded picture is out of step with its data.

    The file must have been decoded: its sizes are not checked again. Nothing is checked where
    Pillow was built in such a way that dav1d cannot be called through it.
    """
    if not (library := _dav1d()):
        return
    for picture in coded_pictures(data):
        if not _is_decoded(library, picture.data, strict=True) and _is_decoded(
            library, picture.data, strict=False
        ):
            raise damaged("AVIF")


def _dav1d() -> ctypes.CDLL | None:
    library = bound_library(_avif.__file__, *_FUNCTIONS)
    return library if library and library.dav1d_version_api() >> 16 == _API else None


def _is_decoded(library: ctypes.CDLL, data: bytes, *, strict: bool) -> bool:
    """Return whether the first frame is decoded; ``strict`` looks at the end of each tile."""
    settings, decoder, given, image = _Settings(), _Pointer(), _Structure(), _Structure()
    library.dav1d_default_settings(ctypes.byref(settings))
    settings.threads = settings.frame_delay = 1
    settings.grain = settings.filters = 0  # they need no data
    settings.logger = (_Pointer * 2)()
    settings.strict = strict
    if library.dav1d_open(decoder, ctypes.byref(settings)):
        return False
    try:
        if not (memory := library.dav1d_data_create(given, len(data))):
            return False
        ctypes.memmove(memory, data, len(data))
        if library.dav1d_send_data(decoder, given):
            return False
        is_decoded = library.dav1d_get_picture(decoder, image) == 0
        library.dav1d_picture_unref(image)
        return is_decoded
    finally:
        library.dav1d_data_unref(given)
        library.dav1d_close(decoder)
