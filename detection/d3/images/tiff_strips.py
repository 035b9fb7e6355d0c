"""Check that each strip or tile of a TIFF holds its pixels and nothing more.

libtiff stops at the last pixel: it verifies no checksum, and ignores data behind that pixel. Its
fax and JPEG decoders fill a cut strip silently.
"""

from __future__ import annotations

import ctypes
import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from .bound_library import bound_library
from .wholeness import damaged, truncated

_LZW, _DEFLATE = 5, {8, 32946}
_YCBCR = 6  # may be subsampled, so that the length of a strip is not known
_PIECES = (
    (Base.StripOffsets, Base.StripByteCounts),
    (Base.TileOffsets, Base.TileByteCounts),
)
_PORTION = 2**20  # bytes that are decompressed at a time

# libtiff writes each error to stderr, although Pillow raises it.
_LIBTIFF = bound_library(Image.core.__file__, ("TIFFSetErrorHandler", None, ctypes.c_void_p))
if _LIBTIFF:
    _LIBTIFF.TIFFSetErrorHandler(None)


def check_strips(image: TiffImageFile, data: bytes) -> None:
    """Check all strips or tiles.

    Raise ``TruncatedImageError`` if one lies behind the end of the file, and ``DamagedImageError``
    if its data hold too many samples or have a wrong checksum.
    """
    tags, pieces = image.tag_v2, list(_pieces(image))
    if any(start + length > len(data) for start, length in pieces):
        raise truncated("TIFF")
    has_usual_bits = tags.get(Base.FillOrder, 1) == 1
    if not has_usual_bits or tags.get(Base.PhotometricInterpretation) == _YCBCR:
        return
    size, compression = _samples_bytes(image), tags.get(Base.Compression)
    for start, length in pieces:
        piece = data[start : start + length]
        if compression in _DEFLATE and not _inflates(piece, size):
            raise damaged("TIFF")
        if compression == _LZW and _is_longer(piece, size):
            raise damaged("TIFF")


def _pieces(image: TiffImageFile) -> Iterator[tuple[int, int]]:
    """Yield starts and lengths of strips and tiles."""
    for tags in _PIECES:
        yield from zip(*(image.tag_v2.get(tag, ()) for tag in tags), strict=False)


def _samples_bytes(image: TiffImageFile) -> int:
    """Return the length of a whole strip or tile; the last strip may be shorter."""
    tags = image.tag_v2
    width, height = tags[Base.ImageWidth], tags[Base.ImageLength]
    if Base.TileWidth in tags:
        width, rows = tags[Base.TileWidth], tags[Base.TileLength]
    else:
        rows = min(tags.get(Base.RowsPerStrip, height), height)
    depths, samples = tags.get(Base.BitsPerSample, (1,)), tags.get(Base.SamplesPerPixel, 1)
    planes = 1 if tags.get(Base.PlanarConfiguration) == 2 else samples
    return rows * -(-width * max(depths) * planes // 8)


def _inflates(piece: bytes, size: int) -> bool:
    """Return False if the data are wrong, or longer than ``size`` bytes."""
    decompressor, total = zlib.decompressobj(), 0
    try:
        while piece and not decompressor.eof and total <= size:
            total += len(decompressor.decompress(piece, _PORTION))
            piece = decompressor.unconsumed_tail
    except zlib.error:
        return False
    return total <= size


def _is_longer(piece: bytes, size: int) -> bool:
    """Return whether LZW data hold more than ``size`` bytes, by asking libtiff for one more."""
    tags = {
        Base.ImageWidth: size + 1,
        Base.ImageLength: 1,
        Base.BitsPerSample: 8,
        Base.Compression: _LZW,
        Base.PhotometricInterpretation: 1,
        Base.StripOffsets: 8 + 2 + 12 * 9 + 4,
        Base.SamplesPerPixel: 1,
        Base.RowsPerStrip: 1,
        Base.StripByteCounts: len(piece),
    }
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + bytes(4)
    try:
        TiffImageFile(io.BytesIO(head + piece)).load()
    except OSError:
        return False
    return True
