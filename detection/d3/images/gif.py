"""Find the frames of a GIF by its structure, and draw them as browsers do."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_TO_BACKGROUND, _TO_PREVIOUS = 2, 3  # disposal: how a frame is removed before the next one


class GifFrame(NamedTuple):
    """Edges on the canvas and size of a frame in pixels, and the place of its data in the file."""

    right: int
    bottom: int
    width: int
    height: int
    start: int
    end: int


def gif_frames(data: bytes) -> Iterator[GifFrame]:
    """Yield frames in order. Raises IndexError or struct.error where the file ends too early."""
    position = 13 + _table_bytes(data[10])
    while (block := data[position]) != _TRAILER:
        if block == _EXTENSION:
            position = _after_blocks(data, position + 2)
        elif block == _FRAME:  # descriptor, colour table, code size, compressed pixels
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
            start = position + 10 + _table_bytes(flags)
            position = _after_blocks(data, start + 1)
            yield GifFrame(left + width, top + height, width, height, start, position)
        else:  # padding, which decoders skip
            position += 1


def count_gif_frames(data: bytes) -> int:
    """Return the number of frames whose data are whole."""
    count = 0
    with suppress(IndexError, struct.error):
        for _ in gif_frames(data):
            count += 1
    return count


def gif_canvas(data: bytes, count: int) -> tuple[int, int]:
    """Return the width and height that hold the canvas and the first ``count`` frames."""
    edges = [(frame.right, frame.bottom) for frame in islice(gif_frames(data), count)]
    widths, heights = zip(struct.unpack_from("<HH", data, 6), *edges, strict=True)
    return max(widths), max(heights)


def gif_is_whole(data: bytes) -> bool:
    """Check the first frame. Raises IndexError or struct.error if the frame ends too early."""
    next(gif_frames(data), None)  # without a frame there is nothing that could be cut
    return True


def has_spare_pixels(data: bytes) -> bool:
    """Return whether the data of the first frame hold more pixels than the frame, as wrong data do.

    All pixels are decoded as one row that has one pixel more than the frame. Pillow fills a row
    only when it has all of its pixels, so the row of a whole frame stays empty.
    """
    if (frame := next(gif_frames(data), None)) is None:
        return False
    size = (frame.width * frame.height + 1, 1)
    blocks, code_bits = data[frame.start + 1 : frame.end], data[frame.start]
    try:
        return Image.frombytes("L", size, blocks, "gif", code_bits, 0).getbbox() is not None
    except ValueError:  # the data have no end code
        return False


def shown_frames(image: GifImageFile, numbers: Collection[int]) -> Iterator[Image.Image]:
    """Yield frames by their numbers, which ascend from 1, each drawn over those before it.

    What no frame covers is transparent, as in browsers.
    """
    size, covered = image.size, Image.new("L", image.size)
    for number in range(1, max(numbers) + 1):
        image.seek(number - 1)
        extents = tuple(image.tile[0].extents) if image.tile else (0, 0, *size)
        before = covered.copy() if image.disposal_method == _TO_PREVIOUS else covered
        covered.paste(255, extents)
        image.load()
        if number in numbers:
            yield _cut_out(image, covered)
        if image.disposal_method == _TO_BACKGROUND:
            covered.paste(0, extents)
        elif image.disposal_method == _TO_PREVIOUS:
            covered = before


def _cut_out(image: GifImageFile, covered: Image.Image) -> Image.Image:
    is_whole = image.size == covered.size and covered.getextrema() == (255, 255)
    if is_whole:
        return image
    # A later frame may reach over the edge of the canvas.
    shown = image.crop((0, 0, *covered.size)).convert("RGBA")
    return Image.composite(shown, Image.new("RGBA", covered.size), covered)


def _table_bytes(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    while size := data[position]:
        position += 1 + size
    return position + 1
