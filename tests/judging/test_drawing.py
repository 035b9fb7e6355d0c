from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from detection.judging.drawing import (
    BAND,
    DARK,
    LABEL_COLOURS,
    LIGHT,
    MAX_EDGE,
    MIN_WIDTH,
    UNCERTAIN_COLOUR,
    Layout,
    draw_heatmap,
    draw_result,
    percentage,
)
from detection.provenance import Provenance, inspect
from tests.support.provenance import generated_picture

pytestmark = pytest.mark.stateless

SIZES = [(1, 1), (1, 3000), (3000, 1), (20, 13), (119, 80), (121, 80), (300, 200), (640, 480)]
SIZES += [(2048, 2048), (3000, 2000), (12000, 200), (200, 12000)]


def gradient(width: int, height: int) -> Image.Image:
    corners = np.array([[[250, 40, 40], [40, 220, 40]], [[40, 40, 250], [240, 240, 90]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def result(
    image: Image.Image, label: str = "FAKE", score: float = 0.8756, **options
) -> Image.Image:
    options.setdefault("uncertain", False)
    return Image.open(io.BytesIO(draw_result(image, label=label, score=score, **options)))


def band(image: Image.Image) -> np.ndarray:
    height = Layout(image.width).band_height
    return np.asarray(image.crop((0, image.height - height, *image.size))).astype(int)


def painted(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Return where the pixels have the colour, as far as JPEG preserves it."""
    return np.abs(pixels - ImageColor.getrgb(colour)).max(axis=2) < 24


@pytest.mark.parametrize("size", SIZES)
def test_the_result_is_an_rgb_jpeg_of_bounded_size_with_room_for_the_words(size):
    drawn = result(gradient(*size), uncertain=True)
    assert (drawn.format, drawn.mode) == ("JPEG", "RGB")
    assert drawn.width >= MIN_WIDTH
    assert max(drawn.size) <= MAX_EDGE


@pytest.mark.parametrize("size", SIZES)
def test_the_words_are_on_every_size_and_do_not_touch_each_other(size):
    pixels = band(result(gradient(*size), uncertain=True))
    words = pixels[: int(2.6 * Layout(pixels.shape[1]).unit)]
    chip, mark, score = (
        np.flatnonzero(painted(words, colour).any(axis=0))
        for colour in (LABEL_COLOURS["FAKE"], UNCERTAIN_COLOUR, LIGHT)
    )
    assert 0 < chip.max() < mark.min()
    assert mark.max() < score[score > mark.min()].min()
    assert score.max() < pixels.shape[1] - 1


@pytest.mark.parametrize("size", [(480, 300), (640, 480), (1500, 1200)])
def test_no_pixel_of_the_picture_is_covered_or_resized(size):
    picture = gradient(*size)
    drawn = result(picture)
    assert drawn.size == (size[0], size[1] + Layout(size[0]).band_height)
    top = np.asarray(drawn.crop((0, 0, *size))).astype(int)
    # The rows next to the band share JPEG blocks with it.
    assert np.abs(top - np.asarray(picture))[:-16].max() < 12


def test_a_tiny_picture_is_enlarged_with_its_pixels_visible():
    picture = Image.new("RGB", (2, 1), "red")
    picture.putpixel((1, 0), (0, 0, 255))
    pixels = np.asarray(result(picture)).astype(int)
    assert painted(pixels, "#FF0000").sum() == pytest.approx(120 * 120, rel=0.05)
    assert painted(pixels, "#0000FF").sum() == pytest.approx(120 * 120, rel=0.05)


@pytest.mark.parametrize(("size", "ratio"), [((6000, 3000), 2), ((3000, 6000), 0.5)])
def test_a_large_picture_keeps_its_shape(size, ratio):
    drawn = result(Image.new("RGB", size, "#00FF00"))
    rows, columns = np.nonzero(painted(np.asarray(drawn).astype(int), "#00FF00"))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("label", ["REAL", "FAKE"])
def test_the_colour_is_that_of_the_label(label):
    pixels = band(result(gradient(600, 400), label, 0.5))
    other = "FAKE" if label == "REAL" else "REAL"
    assert painted(pixels, LABEL_COLOURS[label]).any()
    assert not painted(pixels, LABEL_COLOURS[other]).any()


def test_the_verdict_is_shown_in_words_and_not_by_colour_alone():
    """Compare two verdicts with the same score in grey: they differ at the word."""
    real, fake = (
        np.asarray(result(gradient(600, 400), label, 0.5).convert("L")).astype(int)
        for label in ("REAL", "FAKE")
    )
    layout = Layout(600)
    word = np.s_[400 + layout.padding : 400 + layout.padding + 2 * layout.unit, : 4 * layout.unit]
    assert (np.abs(real - fake)[word] > 100).sum() > 50


def test_an_uncertain_verdict_is_marked():
    sure, unsure = (band(result(gradient(600, 400), uncertain=mark)) for mark in (False, True))
    assert not painted(sure, UNCERTAIN_COLOUR).any()
    assert painted(unsure, UNCERTAIN_COLOUR).sum() > 1000


@pytest.mark.parametrize("score", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_bar_is_filled_up_to_the_score(score):
    pixels = band(result(gradient(1000, 400), "FAKE", score))
    layout = Layout(1000)
    row = painted(pixels, LABEL_COLOURS["FAKE"])[round(3.15 * layout.unit)]
    assert row.sum() / (1000 - 2 * layout.padding) == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.1244, "12.4 %"),
        (0.8756, "87.6 %"),
        (0.99951, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_the_percentage_claims_no_more_than_the_score(score, words):
    assert percentage(score) == words


def test_the_score_is_written_on_the_picture():
    one, other = (band(result(gradient(600, 400), score=score)) for score in (0.5, 0.501))
    words = np.s_[: int(2.6 * Layout(600).unit), 300:]
    assert (np.abs(one[words] - other[words]) > 100).any()


def luminance(colour: str) -> float:
    channels = np.array(ImageColor.getrgb(colour)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("words", "ground"),
    [
        (LIGHT, BAND),
        (LIGHT, LABEL_COLOURS["REAL"]),
        (LIGHT, LABEL_COLOURS["FAKE"]),
        (DARK, UNCERTAIN_COLOUR),
    ],
)
def test_words_have_the_contrast_that_wcag_asks_for(words, ground):
    dark, light = sorted((luminance(words), luminance(ground)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_metadata_of_the_picture_are_not_passed_on():
    source = io.BytesIO()
    gradient(500, 300).save(source, "JPEG", exif=b"Exif\0\0secret place", comment=b"secret name")
    data = draw_result(Image.open(source), label="REAL", score=0.1, uncertain=False)
    assert b"secret" not in data


def test_drawn_pictures_carry_only_a_note_that_they_are_renderings():
    source = Image.open(io.BytesIO(generated_picture()))
    drawn = (
        draw_result(source, label="REAL", score=0.1, uncertain=False),
        draw_heatmap(source, np.array([[1, -1]], np.float32)),
    )
    for data in drawn:
        with Image.open(io.BytesIO(data)) as picture:
            assert b"A rendering of a picture" in picture.info["xmp"]
            assert b"DigitalSourceType" not in picture.info["xmp"]
        assert inspect(data) == Provenance()


# The heatmap


def heatmap(image: Image.Image, evidence: list[list[float]]) -> np.ndarray:
    drawn = Image.open(io.BytesIO(draw_heatmap(image, np.array(evidence, np.float32))))
    assert (drawn.format, drawn.mode, drawn.size) == ("JPEG", "RGB", image.size)
    return np.asarray(drawn).astype(int)


@pytest.mark.parametrize("size", SIZES)
def test_the_heatmap_has_the_size_of_the_picture(size):
    heatmap(gradient(*size), [[1, -1], [0, 0.5]])


def test_fake_is_orange_real_is_blue_and_nothing_is_grey():
    drawn = heatmap(gradient(300, 100), [[2, 0, -2]])

    fake, nothing, real = (drawn[40:60, x - 9 : x + 9].mean(axis=(0, 1)) for x in (30, 150, 270))

    assert fake[0] - fake[2] > 60  # more red than blue
    assert real[2] - real[0] > 60
    assert np.ptp(nothing) < 12


def test_weaker_evidence_is_paler():
    drawn = heatmap(gradient(300, 100), [[1, 0, 0.4]])

    strong, weak = (drawn[40:60, x - 9 : x + 9].mean(axis=(0, 1)) for x in (30, 270))

    assert strong[0] - strong[2] > 1.5 * (weak[0] - weak[2]) > 20


@pytest.mark.parametrize("nothing", [0, np.nan])
def test_a_picture_without_evidence_stays_grey(nothing):
    drawn = heatmap(gradient(64, 48), [[nothing, nothing]])

    assert np.ptp(drawn, axis=2).max() < 6


def test_a_heatmap_fits_the_maximum_size_of_a_jpeg():
    drawn = draw_heatmap(Image.new("RGB", (70_000, 70)), np.ones((1, 3), np.float32))

    assert Image.open(io.BytesIO(drawn)).size == (65_500, 66)
