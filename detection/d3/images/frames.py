"""Count the frames of an animation, or the pages of a TIFF; choose some, and bound their pixels."""

from __future__ import annotations

from PIL import Image

from ..errors import TooManyPixelsError
from .gif import count_gif_frames
from .png import count_png_frames
from .tiff import tiff_pages

MAX_JUDGED_FRAMES = 32
_MAX_IMAGES = 4  # all frames together may have the pixels of so many of the largest images
_LEAST_PIXELS = 128 * 128  # a smaller frame counts as so many, since finding it takes time


def count_frames(data: bytes, name: str, image: Image.Image) -> int:
    """Return the number of frames or pages; ``image`` is the opened file."""
    match name:
        case "PNG":
            return count_png_frames(data)
        case "GIF":
            return max(count_gif_frames(data), 1)
        case "TIFF":
            return len(tiff_pages(data))
        case "WEBP" | "AVIF":
            return getattr(image, "n_frames", 1)
    return 1  # of a HEIC only one picture is shown


def spread_frames(count: int) -> list[int]:
    """Return numbers from 1 to ``count``, evenly spread, at most ``MAX_JUDGED_FRAMES``."""
    judged = min(count, MAX_JUDGED_FRAMES)
    return [1 + index * (count - 1) // max(judged - 1, 1) for index in range(judged)]


class FrameBudget:
    """The pixels that frames of one file may have together, decoded one after the other."""

    def __init__(self, max_pixels: int) -> None:
        """``max_pixels`` is the limit of one image."""
        self.max_pixels = max_pixels
        self._left = _MAX_IMAGES * max_pixels

    def spend(self, size: tuple[int, int], *, frames: int = 1) -> None:
        """Count ``frames`` of a ``size``. Raises TooManyPixelsError if all are too many."""
        width, height = size
        self._left -= frames * max(width * height, _LEAST_PIXELS)
        if self._left < 0:
            raise TooManyPixelsError(
                "This file has more frames than can be judged; judge the first one alone."
            )
