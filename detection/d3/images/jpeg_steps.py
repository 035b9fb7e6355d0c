"""Find where all blocks of a JPEG from one on are brighter, darker or of another tint.

A sequential picture stores differences between the means of blocks, so that a wrong one changes all
behind it up to the next restart, and libjpeg warns of none. Where blocks above meet changed ones,
there is a jump of one size along the whole width, a row lower left of the first changed block.
"""

from __future__ import annotations

import numpy as np

# Brightness and the two tints of red, green and blue (JFIF).
_TO_YCC = np.array(  # from differences that are counted twice
    [[0.1495, 0.2935, 0.057], [-0.0844, -0.1656, 0.25], [0.25, -0.2093, -0.0407]], np.float32
)
_AROUND = (-3, -2, -1, 0, 1, 2)  # lines above and below an edge
_SPACING, _FINE_SPACING = 8, 2  # columns between samples
# Larger jumps count as these.
_MAX_JUMP = np.array([24, 10, 10], np.float32)[:, None, None]
_LEAST_NOISE = (0.8, 0.3, 0.3)
_MIN_COLUMNS = 20
# Of a step: levels, shares of the columns, and logarithms of likelihoods, a column.
_MIN_STEP = 6
_ALIKE, _ALIKE_SIDE, _ROUGHLY_ALIKE = 0.6, 0.45, 0.75
_CALM, _CALM_SIDE = 0.42, 0.3
_MIN_LIKELIHOOD, _MIN_SIDE_LIKELIHOOD = 0.65, 0.5
# Drawings have steps of their own, and collages other content below.
_MIN_TEXTURE = 0.3  # levels between neighbours
_MIN_LIKENESS = 0.2  # correlation of what lies above and below


def has_step(pixels: np.ndarray, unit: tuple[int, int]) -> bool:
    """Return whether the RGB ``pixels`` (H, W, 3 or more) have a step between blocks.

    ``unit`` is the width and height of the blocks that are stored one after the other.
    """
    width, height = unit
    columns = pixels.shape[1] // width
    edges = len(range(height, pixels.shape[0] - 2, height))
    if columns < _MIN_COLUMNS or edges < 2:
        return False
    pixels = pixels[:, : columns * width, :3]
    samples = pixels[:, _SPACING // 2 :: _SPACING]
    jumps = _jumps(samples, slice(height, (edges + 1) * height, height), smooth=height > 8)
    sums = np.cumsum(np.clip(jumps, -_MAX_JUMP, _MAX_JUMP), axis=-1)
    each = width // _SPACING
    left = sums[..., each - 1 :: each]
    right = left[..., -1:] - left
    along, beside = right[:, :-1] + left[:, 1:], left[:, :-1] + right[:, 1:]
    margin = max(2, columns // 12)
    excess = (np.abs(along) - np.abs(beside))[..., margin - 1 : -margin]
    places = (np.unravel_index(channel.argmax(), channel.shape) for channel in excess)
    return any(
        _is_step(pixels, unit, row + 1, column + margin, channel)
        for channel, (row, column) in enumerate(places)
    )


def _jumps(pixels: np.ndarray, rows: slice, *, smooth: bool) -> np.ndarray:
    """Return how much brightness and tints change at the upper edges of ``rows``, beyond the slope
    around, (3, rows, W). ``smooth`` tints are interpolated between blocks.
    """
    before, first, above, below, last, after = (
        pixels[rows.start + offset : rows.stop + offset : rows.step].astype(np.int16)
        for offset in _AROUND
    )
    rgb = 3 * (below - above) - (last - first)
    jumps = _TO_YCC @ rgb.reshape(-1, 3).T.astype(np.float32)
    if smooth:
        rgb = 2 * (last - first) - 3 * (after - last + first - before)
        jumps[1:] = _TO_YCC[1:] @ rgb.reshape(-1, 3).T.astype(np.float32)
    return jumps.reshape(3, *rgb.shape[:2])


def _is_step(
    pixels: np.ndarray, unit: tuple[int, int], row: int, column: int, channel: int
) -> bool:
    """Return whether the blocks from one on differ from those above by one amount."""
    width, height = unit
    rows = slice(row * height, (row + 1) * height + 1, height)
    samples = pixels[:, ::_FINE_SPACING]
    upper, lower = _jumps(samples, rows, smooth=height > 8)[channel]
    first = column * width // _FINE_SPACING
    met, others = np.r_[lower[:first], upper[first:]], np.r_[upper[:first], lower[first:]]
    above, below = (
        np.concatenate(
            [samples[rows.stop - 1 + offset, :first], samples[rows.start + offset, first:]]
        )
        for offset in (-1, 0)
    )
    whole = ((np.minimum(above, below) > 2) & (np.maximum(above, below) < 253)).all(axis=-1)
    if whole.mean() < 0.2:
        whole[:] = True
    step = np.median(met[whole])
    if abs(step) < _MIN_STEP:
        return False
    rest, others = np.abs(met - step), np.abs(others)
    noise = max(_LEAST_NOISE[channel], np.median(others))
    likelier = whole * np.log((noise**2 + met**2) / (noise**2 + rest**2))
    calm = others < abs(step) / 4
    alike = (rest < abs(step) / 2) | ~whole
    brightness = np.stack([above, below]) @ (2 * _TO_YCC[0])
    texture = np.median(np.abs(np.diff(brightness[0])))
    (above_alone, both), (_, below_alone) = np.cov(brightness[:, whole])
    return bool(
        texture >= _MIN_TEXTURE
        and both > _MIN_LIKENESS * np.sqrt(above_alone * below_alone)
        and likelier.mean() >= _MIN_LIKELIHOOD
        and min(likelier[:first].mean(), likelier[first:].mean()) >= _MIN_SIDE_LIKELIHOOD
        and alike[whole].mean() >= _ALIKE
        and min(alike[:first].mean(), alike[first:].mean()) >= _ALIKE_SIDE
        and (rest[whole] < abs(step) * 0.8).mean() >= _ROUGHLY_ALIKE
        and calm.mean() >= _CALM
        and min(calm[:first].mean(), calm[first:].mean()) >= _CALM_SIDE
    )
