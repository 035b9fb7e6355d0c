"""Choose the frames of an animation, or the pages of a TIFF, to judge, and bound their pixels."""

from __future__ import annotations

from ..errors import TooManyPixelsError

MAX_JUDGED_FRAMES = 32
_MAX_IMAGES = 4  # all frames together may have the pixels of so many of the largest images
_LEAST_PIXELS = 128 * 128  # a smaller frame counts as so many, since finding it takes time


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
