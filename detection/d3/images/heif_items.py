"""The coded pictures in an AVIF or HEIC file, found by its boxes (ISO 14496-12, 23008-12)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_CONFIGURATIONS = (b"av1C", b"hvcC")
_MADE_OF_OTHERS = (b"grid", b"iden", b"iovl")
_MAX_META = 2**20  # bytes; programs write a few thousand


class CodedPicture(NamedTuple):
    """The input of a decoder of AV1 or HEVC: its configuration, and the bytes of one coded picture.

    ``shown`` are the numbers of columns and rows that are shown of a grid's tile, since the last
    tiles may be filled up; None for other pictures.
    """

    configuration: bytes
    data: bytes
    shown: tuple[int, int] | None = None


class _Body:
    """Reads the body of a box piece by piece. Raises IndexError if the body ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise IndexError("the box ends too early")
        return self._data[start : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def version_and_flags(self) -> tuple[int, int]:
        return self.number(1), self.number(3)

    def boxes(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield kinds and bodies of the boxes in the rest of this body."""
        while self._position + 8 <= len(self._data):
            size, kind, head = self.number(4), self.take(4), 8
            if size == 1:
                size, head = self.number(8), 16
            rest = len(self._data) - self._position
            yield kind, self.take(rest if size == 0 else max(size - head, 0))


class _Meta:
    """The items of a file, as its box ``meta`` describes them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        content = dict(_Body(data).boxes())[b"meta"]
        if len(content) > _MAX_META:
            raise ValueError("the box is too large")
        meta = _Body(content)
        meta.version_and_flags()
        boxes = dict(meta.boxes())
        self._stored = boxes.get(b"idat", b"")
        primary = _Body(boxes[b"pitm"])
        self.primary = primary.number(4 if primary.version_and_flags()[0] else 2)
        self.kinds = dict(_kinds(_Body(boxes[b"iinf"])))
        self.references = _references(_Body(boxes[b"iref"])) if b"iref" in boxes else {}
        self._properties = _properties(_Body(boxes[b"iprp"]))
        self._extents = dict(_extents(_Body(boxes[b"iloc"])))

    def property(self, item: int, *kinds: bytes) -> bytes:
        """Return the body of the item's first property of these kinds, or no bytes."""
        return next((body for kind, body in self._properties[item] if kind in kinds), b"")

    def content(self, item: int) -> bytes:
        method, extents = self._extents[item]
        if method > 1:
            raise ValueError("the item is made of other items")
        if sum(length for _, length in extents) > len(self._data):
            raise ValueError("parts overlap")
        source = self._stored if method else self._data
        return b"".join(
            source[start : start + length] if length else source[start:]
            for start, length in extents
        )


def coded_pictures(data: bytes) -> Iterator[CodedPicture]:
    """Yield the coded pictures of which the shown picture is made, such as tiles or transparency.

    Pictures that the boxes describe in an unusual way are left out.
    """
    try:
        meta = _Meta(data)
    except (IndexError, KeyError, ValueError):
        return
    pending, seen = [(item, None) for item in (meta.primary, *_alpha_items(meta))], set()
    while pending:
        item, shown = pending.pop(0)
        if item in seen:
            continue
        seen.add(item)
        pending += _parts(meta, item)
        if configuration := meta.property(item, *_CONFIGURATIONS):
            with suppress(KeyError, ValueError):
                yield CodedPicture(configuration, meta.content(item), shown)


def _parts(meta: _Meta, item: int) -> list[tuple[int, tuple[int, int] | None]]:
    """Return the items of which an item is made, with the size that is shown of a grid's tile."""
    if meta.kinds.get(item) not in _MADE_OF_OTHERS:
        return []
    parts = meta.references.get((b"dimg", item), [])
    try:
        size = _Body(meta.property(parts[0], b"ispe"))
        size.version_and_flags()
        width, height = size.number(4), size.number(4)
        grid = _Body(meta.content(item))
        _, flags, _, columns = grid.number(1), grid.number(1), grid.number(1), grid.number(1) + 1
        right, bottom = (grid.number(4 if flags & 1 else 2) for _ in range(2))
    except (IndexError, KeyError, ValueError):
        return [(part, None) for part in parts]
    return [
        (part, (right - place % columns * width, bottom - place // columns * height))
        for place, part in enumerate(parts)
    ]


def _alpha_items(meta: _Meta) -> list[int]:
    """Return the first item with transparency in a list, if any: decoders ignore others."""
    return [
        item
        for item in meta.kinds
        if meta.primary in meta.references.get((b"auxl", item), ())
        and meta.property(item, b"auxC")[4:].startswith(_ALPHA)
    ][:1]


def _kinds(body: _Body) -> Iterator[tuple[int, bytes]]:
    """Yield each item with its kind, such as a coded picture or a grid."""
    body.number(4 if body.version_and_flags()[0] else 2)  # number of items
    for _, content in body.boxes():
        entry = _Body(content)
        item = entry.number(4 if entry.version_and_flags()[0] > 2 else 2)
        entry.number(2)  # protection
        yield item, entry.take(4)


def _references(body: _Body) -> dict[tuple[bytes, int], list[int]]:
    """Return the items to which an item refers, by kind of reference and item."""
    size, found = 4 if body.version_and_flags()[0] else 2, {}
    for kind, content in body.boxes():
        reference = _Body(content)
        item = reference.number(size)
        found[kind, item] = [reference.number(size) for _ in range(reference.number(2))]
    return found


def _properties(body: _Body) -> defaultdict[int, list[tuple[bytes, bytes]]]:
    """Return kinds and bodies of the properties of each item."""
    found, stored = defaultdict(list), []
    for kind, content in body.boxes():
        if kind == b"ipco":
            stored = list(_Body(content).boxes())
        elif kind == b"ipma":
            links = _Body(content)
            version, flags = links.version_and_flags()
            size = 2 if flags & 1 else 1
            for _ in range(links.number(4)):
                item = links.number(4 if version else 2)
                for _ in range(links.number(1)):
                    index = links.number(size) & (
                        0x7FFF if size == 2 else 0x7F
                    )  # without the bit "essential"
                    if 0 < index <= len(stored):
                        found[item].append(stored[index - 1])
    return found


def _extents(body: _Body) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
    """Yield each item with the place of its data, and the start and length of their parts.

    The place is 0 for the file and 1 for the box ``idat``.
    """
    version, _ = body.version_and_flags()
    sizes = body.number(2)
    start_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    for _ in range(body.number(2 if version < 2 else 4)):
        item = body.number(2 if version < 2 else 4)
        method = body.number(2) & 15 if version else 0
        body.number(2)  # index of another file with the data
        base, parts = body.number(base_size), []
        for _ in range(body.number(2)):
            if version and index_size:
                body.number(index_size)
            start = base + body.number(start_size)
            parts.append((start, body.number(length_size)))
        yield item, (method, parts)
