"""Reduce a PNG to the chunks that its pixels need, and find the share of pixels that it lacks.

Pillow refuses some pictures for their texts and profiles, and leaves missing rows black silently.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise, takewhile
from operator import gt

from .wholeness import MAX_LOST, damaged, truncated

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
# The chunks with orientation and software, by kind and first bytes
_METADATA = ((b"eXIf", b""), (b"tEXt", b"Software\0"), (b"iTXt", b"XML:com.adobe.xmp\0\0"))
_MAX_METADATA = 2**16  # bytes of one chunk; a longer one says nothing of orientation or software
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row, and steps between columns and rows, of each pass of an interlaced picture.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def reduced_png(data: bytes, *, animated: bool = False) -> bytes:
    """Return the PNG with only the chunks that pixels, orientation and software need, and an end.

    The frames of an animation are left out, unless they are wanted (``animated``) or shown instead
    of the picture.

    Raise ``DamagedImageError`` for a wrong checksum of pixels, and ``TruncatedImageError`` if there
    are no pixels.
    """
    animated = animated or _hides_its_picture(data)
    wanted = _PIXELS | _ANIMATION if animated else _PIXELS
    parts, pixels = [_SIGNATURE], 0
    for kind, body, checksum in _chunks(data):
        if kind in wanted:
            if (kind == b"IHDR") != (len(parts) == 1):  # one header, before anything else
                raise damaged("PNG")
            if checksum not in (None, zlib.crc32(kind + body)):
                raise damaged("PNG")
            parts.append(_chunk(kind, body))
            pixels += kind == b"IDAT"
        elif len(body) <= _MAX_METADATA and _is_wanted(kind, body):
            parts.append(_chunk(kind, body))
    if not pixels:
        raise truncated("PNG")
    return b"".join([*parts, _chunk(b"IEND", b"")])


def count_png_frames(data: bytes) -> int:
    """Return the number of frames of an animation, or 1. A hidden picture is no frame."""
    chunks = [(kind, body[:4]) for kind, body, _ in _chunks(data)]
    until_pixels = takewhile(lambda chunk: chunk[0] != b"IDAT", chunks)
    announced = next((body for kind, body in until_pixels if kind == b"acTL"), b"")
    controls = sum(kind == b"fcTL" for kind, _ in chunks)
    return max(min(int.from_bytes(announced, "big"), controls), 1)


def check_frames(reduced: bytes, count: int) -> None:
    """Check the first ``count`` frames of an animation, except a frame that is the picture itself.

    Raise ``TruncatedImageError`` if samples are missing, and ``DamagedImageError`` if compressed
    data are wrong.
    """
    chunks = [(kind, body) for kind, body, _ in _chunks(reduced)]
    picture = next(index for index, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    controls = [index for index, (kind, _) in enumerate(chunks) if kind == b"fcTL"]
    header = chunks[0][1]
    for start, end in list(pairwise([*controls, len(chunks)]))[:count]:
        if start < picture:
            continue
        size = chunks[start][1][4:12]
        if any(map(gt, struct.unpack(">II", size), struct.unpack(">II", header[:8]))):
            raise damaged("PNG")
        stream = b"".join(body[4:] for kind, body in chunks[start:end] if kind == b"fdAT")
        _check_samples(stream, size + header[8:])


def _check_samples(stream: bytes, header: bytes) -> None:
    expected = _samples_bytes(header)
    try:
        samples = zlib.decompressobj().decompress(stream, expected)
    except zlib.error as error:
        raise damaged("PNG") from error
    if len(samples) < expected:
        raise truncated("PNG")


def _hides_its_picture(data: bytes) -> bool:
    """Return whether an animation hides the picture: its first frame is another one."""
    kinds = [kind for kind, _, _ in _chunks(data)]
    return b"fdAT" in kinds and not {b"fcTL"} & set(takewhile(lambda kind: kind != b"IDAT", kinds))


def png_size(reduced: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG that ``reduced_png`` returned."""
    return struct.unpack_from(">II", reduced, len(_SIGNATURE) + 8)


def png_without_texts(data: bytes) -> bytes:
    """Return the bytes of all chunks but texts, and those behind the end."""
    parts, position = [], len(_SIGNATURE)
    for kind, body, _ in _chunks(data):
        if kind not in _TEXTS:
            parts.append(kind + body)
        position += 12 + len(body)
    return b"".join([*parts, data[position:]])


def mended_png(data: bytes) -> tuple[bytes, float]:
    """Return the PNG with zeros for the samples that are missing at its end, and their share.

    Raise ``TruncatedImageError`` if more than ``MAX_LOST`` of the samples are missing, and
    ``DamagedImageError`` if the compressed data are wrong before their end.
    """
    chunks = [(kind, body) for kind, body, _ in _chunks(data)]
    expected = _samples_bytes(dict(chunks)[b"IHDR"])
    decompressor = zlib.decompressobj()
    try:
        stream = b"".join(body for kind, body in chunks if kind == b"IDAT")
        samples = decompressor.decompress(stream, expected)
    except zlib.error as error:
        raise damaged("PNG") from error
    lost = 1 - len(samples) / expected
    if lost > MAX_LOST:
        raise truncated("PNG")
    filled = zlib.compress(samples.ljust(expected, b"\0"), 1)
    first = next(index for index, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    others = [(kind, body) for kind, body in chunks if kind != b"IDAT"]
    others.insert(first, (b"IDAT", filled))
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in others), lost


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Yield kind, body and checksum of the chunks before the end chunk.

    In a cut file the last checksum is None, and the last body may be cut too.
    """
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        whole = end + 4 <= len(data)
        checksum = struct.unpack_from(">I", data, end)[0] if whole else None
        if kind == b"IEND":
            return
        yield kind, data[position + 8 : end], checksum
        position = end + 4


def _is_wanted(kind: bytes, body: bytes) -> bool:
    return any(kind == wanted and body.startswith(start) for wanted, start in _METADATA)


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _samples_bytes(header: bytes) -> int:
    """Return the length of the decompressed samples with the filter byte of each row."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", header)
    bits = depth * _CHANNELS.get(colour, 4)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
