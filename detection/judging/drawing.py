"""Draw the result image, which is the picture with its verdict and score in a band below it, and
the heatmap, which is the picture in grey, coloured where the evidence lies.

The band covers no pixel of the picture. Tiny pictures are enlarged, huge ones reduced, and the size
of the band depends on that of the canvas, so that its words are always legible.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from detection.provenance import RENDERING_XMP

MAX_EDGE = 2048  # pixels, of the whole result image
MIN_WIDTH = 480  # pixels, of the canvas, so that the words fit
MIN_PICTURE_EDGE = 240  # pixels; a longest edge below half of this is enlarged
MAX_HEIGHT_PER_WIDTH = 3  # of the picture on its canvas: narrower ones get margins
JPEG_QUALITY = 90
MAX_JPEG_EDGE = 65_500  # pixels; the limit of the format
MAX_COVER = 200  # of 255: the picture stays visible under the strongest evidence
DARKEST = 60  # the grey that replaces black: colours are hard to see on dark pictures

# After the palette of Okabe and Ito, which stays distinct with every kind of colour vision; the
# orange is darker, so that white words on it can be read.
LABEL_COLOURS = {"REAL": "#0072B2", "FAKE": "#B84F00"}
UNCERTAIN_COLOUR = "#F0E442"
BAND, MARGIN, TRACK, LIGHT, DARK = "#1C1C1E", "#2C2C2E", "#48484A", "#FFFFFF", "#1C1C1E"


@dataclass(frozen=True, slots=True)
class Layout:
    """Measures of the band in pixels, in proportion to the ``width`` of the canvas."""

    width: int

    @property
    def unit(self) -> int:
        return min(max(self.width // 24, 20), 64)

    @property
    def band_height(self) -> int:
        return 4 * self.unit

    @property
    def padding(self) -> int:
        return self.unit // 2


def draw_result(image: Image.Image, *, label: str, score: float, uncertain: bool) -> bytes:
    """Return a JPEG of the upright RGB ``image`` with its ``label`` (REAL or FAKE), the fake
    ``score`` (0..1) in words and as a bar, and a mark where the verdict is ``uncertain``. The
    longest edge is at most ``MAX_EDGE`` pixels.
    """
    picture = fitted(image)
    layout = _layout(*picture.size)
    canvas = Image.new("RGB", (layout.width, picture.height + layout.band_height), MARGIN)
    canvas.paste(picture, ((layout.width - picture.width) // 2, 0))
    band = _verdict_band(layout, label, uncertain=uncertain).copy()
    _draw_score(band, layout, score)
    _draw_bar(band, layout, label=label, score=score)
    canvas.paste(band, (0, picture.height))
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, xmp=RENDERING_XMP)
    return buffer.getvalue()


def draw_heatmap(image: Image.Image, evidence: np.ndarray) -> bytes:
    """Return a JPEG of the upright RGB ``image`` at its own size, or the largest that a JPEG can
    have: in light grey, with the colour of FAKE where the ``evidence`` (rows, columns) is positive
    and that of REAL where it is negative. The evidence covers the image from edge to edge. Its
    strongest twentieth has the full colour; 0 and NaN have none.
    """
    if max(image.size) > MAX_JPEG_EDGE:
        image = image.copy()
        image.thumbnail((MAX_JPEG_EDGE, MAX_JPEG_EDGE))
    strength = np.nan_to_num(evidence)
    if strength.any():
        strongest = np.quantile(np.abs(strength[strength != 0]), 0.95)
        strength = np.clip(strength / strongest, -1, 1)
    colours = np.where(strength[..., None] > 0, *(_rgb(LABEL_COLOURS[x]) for x in ("FAKE", "REAL")))
    cover = np.rint(MAX_COVER * np.abs(strength)).astype(np.uint8)
    layer, mask = (
        Image.fromarray(values).resize(image.size, Image.Resampling.BILINEAR)
        for values in (colours.astype(np.uint8), cover)
    )
    grey = image.convert("L").point(lambda value: DARKEST + value * (255 - DARKEST) // 255)
    picture = Image.composite(layer, grey.convert("RGB"), mask)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, xmp=RENDERING_XMP)
    return buffer.getvalue()


def _rgb(colour: str) -> np.ndarray:
    return np.array(ImageColor.getrgb(colour))


def fitted(image: Image.Image) -> Image.Image:
    """Enlarge a small picture so that its pixels stay visible; reduce a large one to MAX_EDGE.

    A fitted picture is returned unchanged.
    """
    size = _fitted_size(*image.size)
    if size == image.size:
        return image
    if size > image.size:
        return image.resize(size, Image.Resampling.NEAREST)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _fitted_size(width: int, height: int) -> tuple[int, int]:
    longest = max(width, height)
    if 2 * longest <= MIN_PICTURE_EDGE:
        factor = MIN_PICTURE_EDGE // longest
        return width * factor, height * factor
    room = MAX_EDGE - Layout(MAX_EDGE).band_height
    scale = min(1, MAX_EDGE / width, room / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _layout(width: int, height: int) -> Layout:
    """Return the layout for a fitted picture of this size."""
    return Layout(max(width, MIN_WIDTH, height // MAX_HEIGHT_PER_WIDTH))


@dataclass(frozen=True, slots=True)
class PicturePlace:
    """The place of the picture at the top of its result image, as fractions of the result."""

    left: float
    width: float
    height: float


def picture_place(width: int, height: int) -> PicturePlace:
    """Return the place of an upright image of this size."""
    width, height = _fitted_size(width, height)
    layout = _layout(width, height)
    return PicturePlace(
        left=(layout.width - width) // 2 / layout.width,
        width=width / layout.width,
        height=height / (height + layout.band_height),
    )


@lru_cache(maxsize=8)
def _verdict_band(layout: Layout, label: str, *, uncertain: bool) -> Image.Image:
    """Return the band with its chips. Many images share it: draw on a copy."""
    band = Image.new("RGB", (layout.width, layout.band_height), BAND)
    draw = ImageDraw.Draw(band)
    right = _draw_chip(draw, layout, layout.padding, label, LABEL_COLOURS[label], LIGHT)
    if uncertain:
        _draw_chip(draw, layout, right + layout.padding, "UNCERTAIN", UNCERTAIN_COLOUR, DARK)
    return band


def _draw_score(band: Image.Image, layout: Layout, score: float) -> None:
    place = (layout.width - layout.padding, layout.padding + layout.unit)
    words, font = f"fake score {percentage(score)}", _font(round(1.1 * layout.unit))
    ImageDraw.Draw(band).text(place, words, LIGHT, font, anchor="rm")


def _draw_chip(
    draw: ImageDraw.ImageDraw, layout: Layout, left: int, text: str, fill: str, colour: str
) -> int:
    """Draw a filled box with a word in it; return its right edge."""
    font = _font(round(1.1 * layout.unit))
    right = left + round(font.getlength(text)) + layout.unit
    box = (left, layout.padding, right, layout.padding + 2 * layout.unit)
    draw.rounded_rectangle(box, radius=layout.unit // 3, fill=fill)
    draw.text(((left + right) / 2, layout.padding + layout.unit), text, colour, font, anchor="mm")
    return right


def _draw_bar(band: Image.Image, layout: Layout, *, label: str, score: float) -> None:
    """Draw a track from 0 to 100 %, filled up to the score, which a vertical stroke marks."""
    draw, unit = ImageDraw.Draw(band), layout.unit
    left, right = layout.padding, layout.width - layout.padding
    top, bottom = round(2.9 * unit), round(3.4 * unit)
    end = left + round((right - left) * score)
    draw.rectangle((left, top, right, bottom), fill=TRACK)
    draw.rectangle((left, top, end, bottom), fill=LABEL_COLOURS[label])
    stroke = max(1, unit // 10)
    draw.rectangle((end - stroke, top - unit // 5, end + stroke, bottom + unit // 5), fill=LIGHT)


def percentage(score: float) -> str:
    """Return for example ``87.6 %``; no score is rounded to certainty."""
    if 0 < score < 0.001:
        return "< 0.1 %"
    if 0.999 < score < 1:
        return "> 99.9 %"
    return f"{100 * score:.1f} %"


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
