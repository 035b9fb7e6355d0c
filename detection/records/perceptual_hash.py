"""Perceptual hashes: numbers that stay almost the same when a picture is stored again, reduced,
made grey or cropped a little.

The hash is pHash: which of the 256 lowest frequencies of the reduced picture lie above their median
(Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). Its bits are
ordered from low to high frequencies. Low ones change least, so an index on the first bits finds
most look-alikes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 16  # frequencies in each direction
BITS = SIDE * SIDE
BANDS, BAND_BITS = 4, 26  # of the lowest frequencies, for the index
EDGE = 256  # pixels: a larger picture is reduced to that first
REGION = 0.95  # of both sides
CORNERS = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))  # where a region is, from 0 to 1
REGIONS = 1 + len(CORNERS)  # with the whole picture

_ROWS, _COLUMNS = np.divmod(np.arange(BITS), SIDE)
_ORDER = np.lexsort((_ROWS, _ROWS + _COLUMNS))
_MIRRORED = int.from_bytes(np.packbits((_COLUMNS % 2 == 1)[_ORDER]).tobytes())


def perceptual_hashes(pixels: Image.Image) -> list[int]:
    """Return the hashes of the whole picture and of five regions of it: a cropped copy of the
    picture resembles one of the regions. Each hash has 256 bits.
    """
    grey = pixels.convert("L")
    grey.thumbnail((EDGE, EDGE))
    return [_hash(grey), *(_hash(region) for region in _regions(grey))]


def mirrored(perceptual_hash: int) -> int:
    """Return, nearly, the hash of the mirrored picture: odd horizontal frequencies change sign."""
    return perceptual_hash ^ _MIRRORED


def bands(perceptual_hash: int) -> list[int]:
    """Return the lowest frequencies as numbers of 26 bits."""
    return [
        perceptual_hash >> (BITS - BAND_BITS * (band + 1)) & (2**BAND_BITS - 1)
        for band in range(BANDS)
    ]


def distance(first: int, second: int) -> int:
    """Return how many of the 256 bits differ."""
    return (first ^ second).bit_count()


def _hash(grey: Image.Image) -> int:
    from imagehash import phash  # SciPy takes long to import

    bits = phash(grey, hash_size=SIDE).hash.flatten()[_ORDER]
    return int.from_bytes(np.packbits(bits).tobytes())


def _regions(grey: Image.Image) -> list[Image.Image]:
    width, height = (max(1, round(REGION * side)) for side in grey.size)
    places = [
        (round(x * (grey.width - width)), round(y * (grey.height - height))) for x, y in CORNERS
    ]
    return [grey.crop((left, top, left + width, top + height)) for left, top in places]
