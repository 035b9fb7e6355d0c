"""Find a jump of brightness or tint that begins at one block of a JPEG and stays.

A sequential JPEG stores the mean of each block as its difference from the block before. One wrong
difference changes all later blocks up to the next restart marker, and libjpeg does not warn. The
edge between unchanged blocks above and changed blocks below then has a jump of the same size along
the whole width. Left of the first changed block this edge lies one row of blocks lower.
"""

from __future__ import annotations

import numpy as np

# From red, green and blue to brightness Y and the tints Cb and Cr (JFIF), halved, because
# ``_jumps`` counts each difference twice
_TO_YCC = np.array(
    [[0.1495, 0.2935, 0.057], [-0.0844, -0.1656, 0.25], [0.25, -0.2093, -0.0407]], np.float32
)
_AROUND = (-3, -2, -1, 0, 1, 2)  # lines above and below an edge
_SPACING, _FINE_SPACING = 8, 2  # columns between samples
# Of Y, Cb and Cr, in levels; larger jumps are clipped
_MAX_JUMP = np.array([24, 10, 10], np.float32)[:, None, None]
_LEAST_NOISE = (0.8, 0.3, 0.3)
_MIN_COLUMNS = 20  # of units
# What a step has at least: a size in levels, shares of the columns, and mean logarithms of
# likelihood ratios; SIDE is for the columns on each side of the first changed unit
_MIN_STEP = 6
_ALIKE, _ALIKE_SIDE, _ROUGHLY_ALIKE = 0.6, 0.45, 0.75
_CALM, _CALM_SIDE = 0.42, 0.3
_MIN_LIKELIHOOD, _MIN_SIDE_LIKELIHOOD = 0.65, 0.5
# Drawings and collages may have such steps too: drawings lack texture, and collages likeness
_MIN_TEXTURE = 0.3  # levels between neighbours
_MIN_LIKENESS = 0.2  # correlation of the pixels above and below the edge


def has_step(pixels: np.ndarray, unit: tuple[int, int]) -> bool:
    """Return whether the RGB ``pixels`` (H, W, 3 or more) have a step between blocks.

    ``unit`` is the width and height in pixels of a coded unit (MCU): the blocks that the file
    stores together.
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
    """Return the jumps of Y, Cb and Cr at the upper edges of ``rows``, (3, rows, W).

    The slope around an edge is subtracted. Tints are ``smooth`` where the decoder interpolates them
    between blocks.
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
    """Return whether a step begins at the unit in ``row`` and ``column``."""
    width, height = unit
    rows = slice(row * height, (row + 1) * height + 1, height)
    samples = pixels[:, ::_FINE_SPACING]
    upper, lower = _jumps(samples, rows, smooth=height > 8)[channel]
    first = column * width // _FINE_SPACING
    at_edge = np.r_[lower[:first], upper[first:]]
    elsewhere = np.r_[upper[:first], lower[first:]]
    above, below = (
        np.concatenate(
            [samples[rows.stop - 1 + offset, :first], samples[rows.start + offset, first:]]
        )
        for offset in (-1, 0)
    )
    unclipped = ((np.minimum(above, below) > 2) & (np.maximum(above, below) < 253)).all(axis=-1)
    if unclipped.mean() < 0.2:
        unclipped[:] = True
    step = np.median(at_edge[unclipped])
    if abs(step) < _MIN_STEP:
        return False
    rest, elsewhere = np.abs(at_edge - step), np.abs(elsewhere)
    noise = max(_LEAST_NOISE[channel], np.median(elsewhere))
    likelier = unclipped * np.log((noise**2 + at_edge**2) / (noise**2 + rest**2))
    calm = elsewhere < abs(step) / 4
    alike = (rest < abs(step) / 2) | ~unclipped
    brightness = np.stack([above, below]) @ (2 * _TO_YCC[0])
    texture = np.median(np.abs(np.diff(brightness[0])))
    (above_alone, both), (_, below_alone) = np.cov(brightness[:, unclipped])
    return bool(
        texture >= _MIN_TEXTURE
        and both > _MIN_LIKENESS * np.sqrt(above_alone * below_alone)
        and likelier.mean() >= _MIN_LIKELIHOOD
        and min(likelier[:first].mean(), likelier[first:].mean()) >= _MIN_SIDE_LIKELIHOOD
        and alike[unclipped].mean() >= _ALIKE
        and min(alike[:first].mean(), alike[first:].mean()) >= _ALIKE_SIDE
        and (rest[unclipped] < abs(step) * 0.8).mean() >= _ROUGHLY_ALIKE
        and calm.mean() >= _CALM
        and min(calm[:first].mean(), calm[first:].mean()) >= _CALM_SIDE
    )
