"""JPEGs that libjpeg decodes without a warning, though their data are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detection.d3.errors import DamagedImageError
from detection.d3.images import decode_image
from tests.support.image_files import encoded

pytestmark = pytest.mark.stateless

SAMPLE = Path(__file__).parents[3] / "samples" / "photo-roman-colosseum.jpg"
BLOCK = 16
WIDTH, HEIGHT = 480, 272


def photograph() -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert("RGB").resize((WIDTH, HEIGHT))


def with_step(
    top: int, left: int, bottom: int, levels: tuple[int, int, int], block: int
) -> Image.Image:
    """Return the photograph as after one wrong difference between means of blocks.

    The blocks from the one at ``top`` and ``left`` to the restart at ``bottom`` have another
    brightness or tint, by ``levels`` of Y, Cb and Cr.
    """
    samples = np.asarray(photograph().convert("YCbCr")).astype(int)
    samples[top : top + block, left:] += levels
    samples[top + block : bottom] += levels
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8), "YCbCr").convert("RGB")


@pytest.mark.parametrize(("subsampling", "block"), [("4:2:0", BLOCK), ("4:4:4", BLOCK // 2)])
@pytest.mark.parametrize(
    ("top", "left", "bottom", "levels"),
    [
        (128, 240, HEIGHT, (40, 0, 0)),
        (128, 240, HEIGHT, (-60, 0, 0)),  # darker than black in places
        (64, 320, HEIGHT, (0, 14, 0)),
        (64, 320, HEIGHT, (0, 0, -12)),
        (80, 160, 128, (-25, 10, 0)),  # up to a restart
        (192, 80, HEIGHT, (20, 0, 16)),
    ],
)
def test_a_jpeg_with_a_jump_of_brightness_or_tint_that_stays_is_refused(
    top, left, bottom, levels, subsampling, block
):
    image = with_step(top, left, bottom, levels, block)
    with pytest.raises(DamagedImageError):
        decode_image(encoded(image, "JPEG", quality=92, subsampling=subsampling))


def bar(image):
    image.paste((20, 20, 20), (0, 128, WIDTH, 160))


def letterbox(image):
    image.paste("black", (0, 0, WIDTH, 48))
    image.paste("black", (0, 224, WIDTH, HEIGHT))


def caption(image):
    shaded = Image.blend(image, Image.new("RGB", image.size), 0.4)
    image.paste(shaded.crop((0, 208, WIDTH, HEIGHT)), (0, 208))


def split_screen(image):
    image.paste(photograph().transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, 128))
    image.paste(photograph(), (256, 0))


def panels(image):
    image.paste("orange", (0, 0, 160, 128))
    image.paste(photograph().resize((160, 128)), (160, 144))


def stairs(image):
    """A drawn landscape of square tiles, whose horizon rises by one tile."""
    image.paste("skyblue", (0, 0, WIDTH, HEIGHT))
    image.paste("green", (0, 144, WIDTH, HEIGHT))
    image.paste("green", (240, 128, WIDTH, HEIGHT))


def table(image):
    for row in range(0, HEIGHT, BLOCK):
        image.paste("white" if row % 32 else "lightblue", (0, row, WIDTH, row + BLOCK))
        ImageDraw.Draw(image).text((8, row + 2), "1 234,56  " * 8, fill="black")


def blinds(image):
    for row in range(0, HEIGHT, 2 * BLOCK):
        stripe = (0, row, WIDTH, row + BLOCK)
        image.paste(image.crop(stripe).point(lambda value: value * 0.7), stripe)


@pytest.mark.parametrize("options", [{"quality": 40}, {"quality": 95, "subsampling": 0}])
@pytest.mark.parametrize(
    "draw", [bar, letterbox, caption, split_screen, panels, stairs, table, blinds]
)
def test_a_picture_with_edges_between_its_blocks_is_whole(draw, options):
    image = photograph()
    draw(image)
    assert not decode_image(encoded(image, "JPEG", **options)).damaged


def changed(data: bytes, marker: int, offset: int, value: int) -> bytes:
    """Return the file with another byte in its first segment with this ``marker``."""
    at = data.index(bytes([0xFF, marker])) + 4 + offset
    assert data[at] != value
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(("offset", "value"), [(1, 200), (5, 0), (20, 255)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_with_a_wrong_value_of_quantization_is_refused(offset, value, progressive):
    data = encoded(photograph(), "JPEG", quality=85, progressive=progressive)
    with pytest.raises(DamagedImageError):
        decode_image(changed(data, 0xDB, offset, value))


def test_a_jpeg_with_a_quantization_of_its_own_is_whole():
    tables = [[4 + place // 3 for place in range(64)], [9 + place for place in range(64)]]
    assert not decode_image(encoded(photograph(), "JPEG", qtables=tables)).damaged


@pytest.mark.parametrize("quality", [1, 20, 50, 75, 90, 99, 100])
def test_a_jpeg_with_a_usual_quantization_that_was_rounded_up_is_whole(quality):
    data = encoded(photograph(), "JPEG", quality=quality)
    with Image.open(io.BytesIO(data)) as image:
        tables = image.quantization.values()
    rounded = [
        [min(255, value + (place % 20 == 0)) for place, value in enumerate(table)]
        for table in tables
    ]
    assert not decode_image(encoded(photograph(), "JPEG", qtables=rounded)).damaged


def test_a_jpeg_with_two_codes_for_one_symbol_is_refused():
    data = bytearray(encoded(photograph(), "JPEG", quality=85))
    table = data.rindex(b"\xff\xc4") + 4
    symbols = table + 17
    data[symbols + sum(data[table + 1 : symbols]) - 1] = data[symbols]
    with pytest.raises(DamagedImageError):
        decode_image(bytes(data))
