"""A HEIC whose coded pixels were overwritten is refused, whatever its coder and its parts."""

from __future__ import annotations

import io
import random

import _pillow_heif
import numpy as np
import pillow_heif
import pytest
from PIL import Image, _imaging

from detection.d3.errors import DamagedImageError
from detection.d3.images.decoding import decode_image
from detection.d3.images.heif_items import coded_pictures
from tests.support.heic_grids import heic_grid
from tests.support.image_files import close, decoded, encoded, sample_photograph

pytestmark = pytest.mark.stateless

ROWS = {"enc_params": {"x265:wpp": "1"}}  # rows of blocks whose ends are marked
SMALL_BLOCKS = {"enc_params": {"x265:wpp": "0", "x265:ctu": "16"}}
LARGE_BLOCKS = {"enc_params": {"x265:wpp": "0"}}


def overwritten(data: bytes, place: float, source: random.Random) -> bytes:
    coded = next(coded_pictures(data)).data
    start = data.index(coded) + int(len(coded) * place)
    return data[:start] + source.randbytes(200) + data[start + 200 :]


def with_alpha() -> Image.Image:
    image = sample_photograph(240, 134).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("place", [0.1, 0.5])
@pytest.mark.parametrize("options", [ROWS, SMALL_BLOCKS, LARGE_BLOCKS])
def test_a_heic_whose_coded_pixels_were_overwritten_is_refused(options, place):
    data = encoded(sample_photograph(), "HEIC", **options)
    with pytest.raises(DamagedImageError):
        decode_image(overwritten(data, place, random.Random(4)))


@pytest.mark.parametrize("library", [_imaging.__file__, "absent"])
def test_where_libde265_cannot_be_called_a_heic_is_judged(library, monkeypatch):
    monkeypatch.setattr(_pillow_heif, "__file__", library)
    data = encoded(sample_photograph(), "HEIC", **LARGE_BLOCKS)
    assert decode_image(data).width == decode_image(overwritten(data, 0.5, random.Random(4))).width


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("options", [ROWS, SMALL_BLOCKS, {"chroma": 444}, {"chroma": 422}])
def test_other_variants_are_whole(options, mode):
    image = with_alpha().convert(mode)
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    assert close(decoded(encoded(image, "HEIC", **options)), white.convert("RGB"), 4)


@pytest.mark.parametrize("colour", ["black", "white", "lime", (0, 135, 0), "blue"])
@pytest.mark.parametrize("options", [{}, SMALL_BLOCKS, {"chroma": 444}])
def test_a_picture_of_one_colour_is_whole(options, colour):
    image = Image.new("RGB", (128, 96), colour)
    assert close(decode_image(encoded(image, "HEIC", **options)).pixels, image, 4)


def test_transparency_whose_data_were_overwritten_is_damage():
    data = encoded(with_alpha(), "HEIC", **ROWS)
    alpha = list(coded_pictures(data))[1].data
    start = data.index(alpha) + len(alpha) // 4
    changed = data[:start] + random.Random(1).randbytes(60) + data[start + 60 :]
    with pytest.raises(DamagedImageError):
        decode_image(changed)


def grid(*tiles: Image.Image, width: int) -> bytes:
    return heic_grid([encoded(tile, "HEIC") for tile in tiles], 256, 2, width, 256)


def test_a_tile_whose_data_were_overwritten_is_damage():
    image = sample_photograph(512, 256)
    data = grid(*(image.crop((left, 0, left + 256, 256)) for left in (0, 256)), width=512)
    assert close(decode_image(data).pixels, image)
    for picture in coded_pictures(data):
        start = data.index(picture.data) + len(picture.data) // 2
        with pytest.raises(DamagedImageError):
            decode_image(data[:start] + random.Random(1).randbytes(200) + data[start + 200 :])


def test_parts_that_no_decoder_shows_are_left_out():
    data = grid(*[sample_photograph(256, 256)] * 2, width=512)
    assert len(list(coded_pictures(data))) == 2
    assert not list(coded_pictures(data.replace(b"grid", b"mime")))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("width", "is_whole"), [(384, True), (400, False)])
def test_only_the_filling_of_the_last_tile_may_be_unwritten(width, is_whole):
    pillow_heif.register_heif_opener()  # only then are these samples stored as they are
    filled = np.asarray(sample_photograph(256, 256).convert("YCbCr")).copy()
    filled[:, 128:] = 0
    tile = io.BytesIO()
    Image.fromarray(filled, "YCbCr").save(tile, "HEIF", quality=90)
    first = encoded(sample_photograph(256, 256), "HEIC")
    data = heic_grid([first, tile.getvalue()], 256, 2, width, 256)
    if is_whole:
        assert decode_image(data).width == width
    else:
        with pytest.raises(DamagedImageError):
            decode_image(data)
