"""Find wrong tables in the header of a JPEG.

One wrong value changes the whole picture, and libjpeg decodes it without a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_VALUES = 64
_MAX_WRONG = 4  # values of a table; an encoder's own table differs in more
_MIN_ERROR = 9  # programs that round in another way differ from a usual value by 3 at most
# ITU-T T.81, tables K.1 and K.2, in the order in which they are stored. Most encoders scale them.
_SUGGESTED = np.array(
    [
        values.split()
        for values in (
            "16 11 12 14 12 10 16 14 13 14 18 17 16 19 24 40 26 24 22 22 24 49 "
            "35 37 29 40 58 51 61 60 57 51 56 55 64 72 92 78 64 68 87 69 55 56 "
            "80 109 81 87 95 98 103 104 103 62 77 113 121 112 100 120 92 101 103 99",
            "17 18 18 24 21 24 47 26 26 47 99 66 56 66 99 99 99 99 99 99 99 99 "
            "99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 "
            "99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99",
        )
    ],
    int,
)


def _scaled(quality: int) -> np.ndarray:
    """Return the suggested tables as libjpeg scales them, (2, 64)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_SUGGESTED * percent + 50) // 100, 1, 255)


_USUAL = np.concatenate([_scaled(quality) for quality in range(1, 101)]).astype(np.uint8)


def has_wrong_quantization(tables: bytes) -> bool:
    """Return whether a table of a DQT segment is wrong.

    A wrong table has a zero, or differs from a usual table in a few values only.
    """
    while len(tables) > _VALUES and tables[0] < 16:  # of 8 bits
        table = np.frombuffer(tables, np.uint8, _VALUES, offset=1)
        equal = (table == _USUAL).sum(axis=1)
        nearest = _USUAL[equal.argmax()].astype(int)
        is_near = equal.max() >= _VALUES - _MAX_WRONG
        if not table.all() or (is_near and np.abs(nearest - table).max() >= _MIN_ERROR):
            return True
        tables = tables[_VALUES + 1 :]
    return False


def has_wrong_codes(tables: bytes) -> bool:
    """Return whether a table of a DHT segment has two codes for the same symbol."""
    return any(len(set(symbols)) < len(symbols) for _, symbols in code_tables(tables))


def code_tables(tables: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each table of a DHT segment: class and number, and symbols in the order of codes."""
    while len(tables) > 17:
        end = 17 + sum(tables[1:17])
        yield tables[0], tables[17:end]
        tables = tables[end:]
