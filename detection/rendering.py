"""The result image: the picture that was judged, with its verdict and score in a band below it.

No pixel of the picture is covered. Tiny pictures are enlarged, huge ones reduced, and the band is
sized by the canvas, so that the words can be read in every case.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

MAX_EDGE = 2048  # pixels, of the whole result image
MIN_WIDTH = 480  # pixels, of the canvas, so that the words fit
MIN_PICTURE_EDGE = 240  # pixels; a longest edge below half of this is enlarged
MAX_HEIGHT_PER_WIDTH = 3  # of the picture on its canvas: narrower ones get margins
JPEG_QUALITY = 90

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
    """A JPEG of the upright RGB ``image`` with its ``label`` (REAL or FAKE), the fake ``score``
    (0..1) in words and as a bar, and a mark where the verdict is ``uncertain``. The longest edge
    is at most ``MAX_EDGE`` pixels.
    """
    picture = fitted(image)
    layout = Layout(max(picture.width, MIN_WIDTH, picture.height // MAX_HEIGHT_PER_WIDTH))
    canvas = Image.new("RGB", (layout.width, picture.height + layout.band_height), MARGIN)
    canvas.paste(picture, ((layout.width - picture.width) // 2, 0))
    band = Image.new("RGB", (layout.width, layout.band_height), BAND)
    _draw_words(band, layout, label=label, score=score, uncertain=uncertain)
    _draw_bar(band, layout, label=label, score=score)
    canvas.paste(band, (0, picture.height))
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def fitted(image: Image.Image) -> Image.Image:
    """Small pictures enlarged with their pixels kept visible, large ones reduced to fit.

    A fitted picture fits: doing it again changes nothing.
    """
    longest = max(image.size)
    if 2 * longest <= MIN_PICTURE_EDGE:
        factor = MIN_PICTURE_EDGE // longest
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    room = MAX_EDGE - Layout(MAX_EDGE).band_height
    scale = min(1, MAX_EDGE / image.width, room / image.height)
    if scale == 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _draw_words(
    band: Image.Image, layout: Layout, *, label: str, score: float, uncertain: bool
) -> None:
    draw, unit, middle = ImageDraw.Draw(band), layout.unit, layout.padding + layout.unit
    right = _draw_chip(draw, layout, layout.padding, label, LABEL_COLOURS[label], LIGHT)
    if uncertain:
        _draw_chip(draw, layout, right + layout.padding, "UNCERTAIN", UNCERTAIN_COLOUR, DARK)
    words = f"fake score {percentage(score)}"
    draw.text(
        (layout.width - layout.padding, middle), words, LIGHT, _font(round(1.1 * unit)), anchor="rm"
    )


def _draw_chip(
    draw: ImageDraw.ImageDraw, layout: Layout, left: int, text: str, fill: str, colour: str
) -> int:
    """A filled box with a word in it; returns its right edge."""
    font = _font(round(1.1 * layout.unit))
    right = left + round(font.getlength(text)) + layout.unit
    box = (left, layout.padding, right, layout.padding + 2 * layout.unit)
    draw.rounded_rectangle(box, radius=layout.unit // 3, fill=fill)
    draw.text(((left + right) / 2, layout.padding + layout.unit), text, colour, font, anchor="mm")
    return right


def _draw_bar(band: Image.Image, layout: Layout, *, label: str, score: float) -> None:
    """A track from 0 to 100 %, filled up to the score, with an upright stroke where it ends."""
    draw, unit = ImageDraw.Draw(band), layout.unit
    left, right = layout.padding, layout.width - layout.padding
    top, bottom = round(2.9 * unit), round(3.4 * unit)
    end = left + round((right - left) * score)
    draw.rectangle((left, top, right, bottom), fill=TRACK)
    draw.rectangle((left, top, end, bottom), fill=LABEL_COLOURS[label])
    stroke = max(1, unit // 10)
    draw.rectangle((end - stroke, top - unit // 5, end + stroke, bottom + unit // 5), fill=LIGHT)


def percentage(score: float) -> str:
    """``87.6 %``; certainty is never claimed by rounding."""
    if 0 < score < 0.001:
        return "< 0.1 %"
    if 0.999 < score < 1:
        return "> 99.9 %"
    return f"{100 * score:.1f} %"


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
