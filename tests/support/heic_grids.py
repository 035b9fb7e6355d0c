"""HEIC files of several tiles, as phones write them. pillow_heif writes a single tile only."""

from __future__ import annotations

import struct

from detection.d3.images.heif_items import coded_pictures

_GRID = 100  # number of the item


def heic_grid(tiles: list[bytes], side: int, columns: int, width: int, height: int) -> bytes:
    """Return a HEIC whose tiles are these HEICs, squares of ``side`` pixels. The shown image has
    ``width`` and ``height``.
    """
    coded = [next(coded_pictures(tile)) for tile in tiles]
    items = list(range(1, len(tiles) + 1))
    properties = [
        _box(b"hvcC", coded[0].configuration),
        _box(b"ispe", bytes(4), struct.pack(">II", side, side)),
        _box(b"ispe", bytes(4), struct.pack(">II", width, height)),
    ]
    links = [(item, (0x81, 2)) for item in items] + [(_GRID, (3,))]
    rows = len(tiles) // columns
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)

    def file(start: int) -> bytes:
        """Return the file, with the coded pictures from position ``start`` on."""
        places = [struct.pack(">HHHHII", _GRID, 1, 0, 1, 0, len(grid))]
        for item, picture in zip(items, coded, strict=True):
            places.append(struct.pack(">HHHHII", item, 0, 0, 1, start, len(picture.data)))
            start += len(picture.data)
        kinds = [(item, b"hvc1") for item in items] + [(_GRID, b"grid")]
        meta = _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", bytes(4), struct.pack(">H", _GRID)),
            _box(
                b"iinf",
                bytes(4),
                struct.pack(">H", len(kinds)),
                *(_box(b"infe", b"\2\0\0\0", struct.pack(">HH4sx", i, 0, k)) for i, k in kinds),
            ),
            _box(
                b"iref",
                bytes(4),
                _box(b"dimg", struct.pack(f">HH{len(items)}H", _GRID, len(items), *items)),
            ),
            _box(
                b"iprp",
                _box(b"ipco", *properties),
                _box(
                    b"ipma",
                    bytes(4),
                    struct.pack(">I", len(links)),
                    *(struct.pack(">HB", item, len(to)) + bytes(to) for item, to in links),
                ),
            ),
            _box(b"iloc", b"\1\0\0\0\x44\0", struct.pack(">H", len(places)), *places),
            _box(b"idat", grid),
        )
        head = _box(b"ftyp", b"heic", bytes(4), b"mif1heic") + meta
        return head + _box(b"mdat", *(picture.data for picture in coded))

    start = file(0).index(b"mdat") + 4
    return file(start)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body
