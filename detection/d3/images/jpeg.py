"""Decode a JPEG, and find the share of pixels that its file lacks.

libjpeg fills missing pixels with grey and only warns. Pillow drops the warnings; simplejpeg raises
the first one, and decodes the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, takewhile

import numpy as np
import simplejpeg

from ..errors import ImageError
from .jpeg_steps import has_step
from .jpeg_tables import code_tables, has_wrong_codes, has_wrong_quantization
from .wholeness import MAX_LOST, damaged, truncated

Segment = tuple[int, int, int]  # marker code, start and end

# FF00 and the restart markers belong to the compressed data. Several FFs before a marker are fill
# bytes.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SOI, _EOI, _SOS, _TEM, _DHT, _DQT = 0xD8, 0xD9, 0xDA, 0x01, 0xC4, 0xDB
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Encoders write about ten. Thousands of scans in a small file would occupy a decoder for hours.
_MAX_SCANS = 200
_MAX_SEGMENTS = 10_000
TEXTS = frozenset({0xFE, *range(0xE0, 0xF0)})  # comments and segments of applications
_JFIF, EXIF, ADOBE = 0xE0, 0xE1, 0xEE
_COLOUR = {_JFIF, ADOBE}  # the two of them that say how colours are stored

_EOI_MARKER = b"\xff\xd9"
_ZEROS = bytes(64)
# libjpeg's warnings
_CUT = "premature end of data segment"
_SLACK = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_REST = 16  # bytes behind the pixels of a file without an end marker, trailers not counted
_COLOURS = {"Gray": ("GRAY", "L"), "CMYK": ("CMYK", "CMYK"), "YCCK": ("CMYK", "CMYK")}
_TABLES = {_DQT: has_wrong_quantization, _DHT: has_wrong_codes}
# Width and height in pixels of a coded unit (MCU), by subsampling
_UNITS = {"420": (16, 16), "422": (16, 8), "440": (8, 16), "411": (32, 8)}


def jpeg_without_texts(data: bytes, texts: frozenset[int] = TEXTS) -> bytes:
    """Return the file without the segments of the kinds ``texts`` before its first scan."""
    parts, position = [], 0
    for code, start, end in _segments(data):
        if code == _SOS:
            break
        if code in texts:
            parts.append(data[position:start])
            position = end
    return b"".join([*parts, data[position:]])


def check_scans(data: bytes) -> list[Segment]:
    """Return the segments of the file.

    Raise ``TruncatedImageError`` if scans are missing, and ``ImageError`` for more scans than any
    picture needs.
    """
    segments = list(islice(_segments(data), _MAX_SEGMENTS))
    scans = [data[start:end] for code, start, end in segments if code == _SOS]
    if len(scans) > _MAX_SCANS or len(segments) == _MAX_SEGMENTS:
        raise ImageError("This JPEG file has more scans than any picture needs.")
    if not scans or segments[-1][2] > len(data):
        raise truncated("JPEG")
    if _is_progressive(segments) and not _are_complete(scans):
        raise truncated("JPEG")
    return segments


def _is_progressive(segments: list[Segment]) -> bool:
    until_pixels = takewhile(lambda segment: segment[0] != _SOS, segments)
    return any(code in _PROGRESSIVE for code, _, _ in until_pixels)


def _are_complete(scans: list[bytes]) -> bool:
    """Return whether the scans of a progressive picture hold each bit of each coefficient.

    A scan's header names its components, first and last coefficient, and lowest bit (ITU-T T.81,
    B.2.3).
    """
    missing: dict[tuple[int, int], int] = {}
    for header in scans:
        *components, first, last, bits = header[5:]
        for component in components[::2]:
            for coefficient in range(64):
                missing.setdefault((component, coefficient), 1)
                if first <= coefficient <= last:
                    missing[component, coefficient] = bits & 15
    return not any(missing.values())


def _segments(data: bytes) -> Iterator[Segment]:
    """Yield marker code, start and end of each segment up to the end marker.

    A thumbnail inside a segment is skipped.
    """
    position = 2
    while match := _MARKER.search(data, position):
        code, end = match[1][0], match.end()
        if code not in (_SOI, _EOI, _TEM):
            end += int.from_bytes(data[end : end + 2], "big") or 2
        yield code, match.start(), end
        if code == _EOI:
            return
        position = end


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, or None for a variant that only Pillow may be able to read."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:
        return None
    return width, height


def decode_jpeg(data: bytes, segments: list[Segment]) -> tuple[np.ndarray, str, float]:
    """Decode a file with the ``segments`` that ``check_scans`` returned.

    Return samples uint8 (H, W, C), their mode (L, RGBX, or CMYK as stored), and the share of
    pixels that the file lacks. A missing end marker alone costs no pixels.

    Raise ``TruncatedImageError`` if data are missing at the end, and ``DamagedImageError`` if they
    are missing or wrong elsewhere.
    """
    if any(code in _TABLES and _TABLES[code](data[at + 4 : end]) for code, at, end in segments):
        raise damaged("JPEG")
    data = _without_padding(data, segments)
    # simplejpeg raises only the first warning: one about a colour profile would hide the others.
    marked = jpeg_without_texts(data, TEXTS - _COLOUR) + _EOI_MARKER
    try:
        simplejpeg.decode_jpeg_header(marked, strict=True)
    except ValueError:  # a version of JFIF that libjpeg does not know
        marked = jpeg_without_texts(marked, frozenset({_JFIF}))
    *_, colour, subsampling = simplejpeg.decode_jpeg_header(marked, strict=False)
    wanted, mode = _COLOURS.get(colour, ("RGBX", "RGBX"))
    options = {"colorspace": wanted, "fastdct": False, "fastupsample": False}
    lost = 0.0
    try:
        pixels = simplejpeg.decode_jpeg(marked, strict=True, **options)
    except ValueError as error:
        pixels = simplejpeg.decode_jpeg(marked, strict=False, **options)
        lost = _lost(data, segments, pixels, subsampling, warning=str(error))
    if mode == "RGBX" and has_step(pixels, _unit(subsampling)):
        raise damaged("JPEG")
    return pixels, mode, lost


def _lost(
    data: bytes, segments: list[Segment], pixels: np.ndarray, subsampling: str, *, warning: str
) -> float:
    """Return the share of missing pixels, by libjpeg's first ``warning``; raise if it is large."""
    if slack := _SLACK.search(warning):
        if _is_padding(data, int(slack[1])):
            return 0.0
    elif _CUT in warning:
        lost = _flat_end(pixels, subsampling)
        # A cut file with an end marker was mended after a loss, which may lie anywhere.
        if _is_progressive(segments) or lost > MAX_LOST:
            raise truncated("JPEG")
        if not data.rstrip(b"\0").endswith(_EOI_MARKER):
            return lost
    raise damaged("JPEG")


def _is_padding(data: bytes, count: int) -> bool:
    """Return whether the ``count`` bytes behind the coded pixels are no pixels.

    They may be fill bytes before the end marker, or the trailer of a camera that writes no end
    marker.
    """
    end = data.rfind(_EOI_MARKER)
    if end >= 0:
        return not data[max(end - count, 0) : end].strip(b"\0\xff")
    return len(data[-count:].strip(b"\0\xff")) <= _samsungs_trailer(data) + _MAX_REST


def _samsungs_trailer(data: bytes) -> int:
    """Return the length of the trailer of Samsung's cameras, 0 without one.

    The directory at the end of the trailer says how far before the directory each block starts.
    """
    directory = data.rfind(b"SEFH")
    if directory < 0 or not data.endswith(b"SEFT"):
        return 0
    entries = data[directory + 12 : -8]
    starts = [int.from_bytes(entries[at : at + 4], "little") for at in range(4, len(entries), 12)]
    return max(starts, default=0) + len(data) - directory


def _without_padding(data: bytes, segments: list[Segment]) -> bytes:
    """Return the file without the zeros behind its coded pixels.

    Zeros that overwrote the last pixels are removed too, so that the decoder misses those pixels.

    Raise ``DamagedImageError`` for a row of zeros before other coded pixels. No encoder writes such
    a row: in a sequential picture it would be the first code of a table, repeated, and only the
    code of an empty block repeats like that.
    """
    first_code, start = 0, 0
    for code, begin, end in segments:
        if code == _SOS:
            start = end
            break
        if code == _DHT:
            first_code = _first_code(data[begin + 4 : end], first_code)
    if first_code == 0 or _is_progressive(segments):
        return data
    last_code, last_begin, _ = segments[-1]
    end = last_begin if last_code == _EOI else len(data)
    coded = data[start:end].rstrip(b"\0")
    if _ZEROS in coded:
        raise damaged("JPEG")
    if end - start - len(coded) < len(_ZEROS):
        return data
    return data[:start] + coded + b"\0" + data[end:]  # the last coded byte may be zero


def _first_code(tables: bytes, default: int) -> int:
    """Return the symbol of the code of zeros alone, in the AC table for brightness."""
    first_codes = {kind: codes[0] for kind, codes in code_tables(tables) if codes}
    return first_codes.get(0x10, default)


def _unit(subsampling: str) -> tuple[int, int]:
    return _UNITS.get(subsampling, (8, 8))


def _flat_end(pixels: np.ndarray, subsampling: str) -> float:
    """Return the share of the units from the last one with content on.

    libjpeg fills missing units with the mean of the last one that it has. Counting stops a little
    above ``MAX_LOST``.
    """
    width, height = _unit(subsampling)
    columns, rows = -(-pixels.shape[1] // width), -(-pixels.shape[0] // height)
    enough = int(MAX_LOST * rows * columns) + 1
    for count in range(enough):
        row, column = divmod(rows * columns - 1 - count, columns)
        block = pixels[row * height :, column * width :][:height, :width]
        inner = block[2:, 2:-2] if min(block.shape[:2]) > 4 else block
        if np.ptp(inner, axis=(0, 1)).any():
            return (count + 1) / (rows * columns)
    return enough / (rows * columns)
