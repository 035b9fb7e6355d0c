"""An AVIF whose coded pixels were overwritten is refused, whatever its tiles."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, _avif, _imaging

from detection.d3.errors import DamagedImageError
from detection.d3.images.decoding import decode_image
from detection.d3.images.heif_items import coded_pictures
from tests.support.image_files import animated, close, decoded, encoded, sample_photograph

pytestmark = pytest.mark.stateless


def overwritten(data: bytes, coded: bytes, place: float) -> bytes:
    start = data.index(coded) + int(len(coded) * place)
    return data[:start] + random.Random(5).randbytes(50) + data[start + 50 :]


def with_alpha() -> Image.Image:
    image = sample_photograph(240, 134).convert("RGBA")
    image.putalpha(image.convert("L").rotate(180))
    return image


TILES = {"autotiling": False, "tile_rows": 1, "tile_cols": 1}


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("options", [{}, {"quality": 100}, {"subsampling": "4:4:4"}, TILES])
def test_an_avif_whose_coded_pixels_were_overwritten_is_refused(options, place):
    data = encoded(sample_photograph(), "AVIF", **options)
    with pytest.raises(DamagedImageError):
        decode_image(overwritten(data, next(coded_pictures(data)).data, place))


def test_transparency_whose_data_were_overwritten_is_damage():
    data = encoded(with_alpha(), "AVIF")
    with pytest.raises(DamagedImageError):
        decode_image(overwritten(data, list(coded_pictures(data))[1].data, 0.5))


@pytest.mark.parametrize("library", [_imaging.__file__, "absent"])
def test_where_dav1d_cannot_be_called_an_avif_is_judged(library, monkeypatch):
    monkeypatch.setattr(_avif, "__file__", library)
    data = encoded(sample_photograph(), "AVIF")
    changed = overwritten(data, next(coded_pictures(data)).data, 0.5)
    assert decode_image(changed).width == decode_image(data).width


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {"speed": 10},
        {"quality": 1},
        {"quality": 100},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:0:0"},
        TILES,
    ],
)
def test_other_variants_are_whole(options, mode):
    data = encoded(with_alpha().convert(mode), "AVIF", **options)
    assert not decode_image(data).damaged


@pytest.mark.parametrize("colour", ["black", "white", "lime", "blue"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (200, 100)])
def test_a_picture_of_one_colour_is_whole(colour, size):
    image = Image.new("RGB", size, colour)
    assert close(decode_image(encoded(image, "AVIF")).pixels, image, 4)


def test_the_first_frame_of_an_animation_is_whole():
    first = sample_photograph(240, 134)
    data = animated("AVIF", [first, first.rotate(180)])
    assert np.abs(decoded(data) - np.asarray(first)).mean() < 12
