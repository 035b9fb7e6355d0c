"""Find coded pictures of an AVIF whose data are wrong.

The data of each tile end with a bit that the decoded symbols must reach exactly. Changed data can
still be decoded, but their symbols miss that bit. libavif does not let dav1d check it, so dav1d
decodes the pictures a second time.
"""

from __future__ import annotations

import ctypes

from PIL import _avif

from .bound_library import bound_library
from .heif_items import coded_pictures
from .wholeness import damaged

_Pointer, _PointerOut = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
# Name, type of the result and types of the arguments of each function
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
_API = 7  # major version of dav1d's interface, with the settings below
_Structure = ctypes.c_byte * 4096  # larger than any structure of dav1d


class _Settings(ctypes.Structure):
    """The first settings of dav1d; ``others`` have their defaults."""

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
    """Raise ``DamagedImageError`` if the data of a coded picture are wrong.

    The file must have been decoded before, since sizes are not checked again. Nothing is checked if
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
    """Return whether the first frame can be decoded; ``strict`` checks the end of each tile."""
    settings, decoder, given, image = _Settings(), _Pointer(), _Structure(), _Structure()
    library.dav1d_default_settings(ctypes.byref(settings))
    settings.threads = settings.frame_delay = 1
    settings.grain = settings.filters = 0  # they read no coded data
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
