"""The directories of a TIFF: one for each of its pages, and for each reduced copy and mask."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from PIL.ExifTags import Base

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType


class _Layout(NamedTuple):
    """Byte order, and the formats of the numbers in a classic TIFF or a BigTIFF."""

    order: str
    count: str
    offset: str
    entry_bytes: int
    first: int

    def read(self, form: str, data: bytes, position: int) -> int:
        (number,) = struct.unpack_from(self.order + form, data, position)
        return number


def tiff_is_whole(data: bytes) -> bool:
    """Return whether the first page's directory is complete; ``tiff_strips`` checks its pixels."""
    layout = _layout(data)
    start = layout.read(layout.offset, data, layout.first)
    return _end(layout, data, start) <= len(data)


def tiff_pages(data: bytes) -> list[int]:
    """Return the indices of the directories of pages. The first one always counts as a page."""
    return [place for place, kind in enumerate(_kinds(data)) if not place or not kind]


def _kinds(data: bytes) -> Iterator[int]:
    """Yield 0 for each complete directory of a page, and other numbers for copies and masks."""
    layout, seen = _layout(data), set()
    with suppress(struct.error, OverflowError):
        start = layout.read(layout.offset, data, layout.first)
        while start and start not in seen:
            seen.add(start)
            end = _end(layout, data, start)
            following = layout.read(layout.offset, data, end - struct.calcsize(layout.offset))
            yield _subfile_type(layout, data, start) & (_REDUCED | _MASK)
            start = following


def _subfile_type(layout: _Layout, data: bytes, start: int) -> int:
    """Return NewSubfileType, or 0. No tag has a lower number, so it can only be the first."""
    entry = start + struct.calcsize(layout.count)
    if layout.read("H", data, entry) != Base.NewSubfileType:
        return 0
    return layout.read("I", data, entry + layout.entry_bytes - struct.calcsize(layout.offset))


def _end(layout: _Layout, data: bytes, start: int) -> int:
    entries = layout.read(layout.count, data, start)
    sizes = struct.calcsize(layout.count) + struct.calcsize(layout.offset)
    return start + sizes + layout.entry_bytes * entries


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
    return _Layout(order, "Q", "Q", 20, 8) if big else _Layout(order, "H", "I", 12, 4)
