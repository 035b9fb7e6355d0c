"""A GIF is judged if its first frame is whole."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from PIL import GifImagePlugin, Image

from detection.d3.errors import DamagedImageError, ImageError
from detection.d3.images.decoding import decode_image
from tests.support.image_files import decoded, encoded, picture, sample_photograph

pytestmark = pytest.mark.stateless


def test_a_gif_without_its_end_or_with_a_cut_second_frame_is_whole():
    data = encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(180)])
    for cut in (data[:-1], data[:-200]):
        assert (decoded(cut) == decoded(data)).all()


def test_pixels_outside_of_the_first_frame_of_a_gif_are_white():
    frame = Image.new("P", (20, 20))
    frame.putpalette([255, 0, 0] + [0, 0, 255] * 255)
    local = b"".join(GifImagePlugin.getdata(frame, (10, 10)))
    head = encoded(frame, "GIF")[:13]
    data = head[:6] + struct.pack("<HH", 64, 48) + head[10:]
    table = bytes([255, 0, 0] + [0, 0, 255] * (2 ** ((data[10] & 7) + 1) - 1))
    pixels = decoded(data + table + local + b";")

    assert (pixels[0, 0] == 255).all()
    assert tuple(pixels[15, 15]) == (255, 0, 0)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_gif_with_more_pixels_than_its_frame_is_refused(place):
    data = encoded(sample_photograph(), "GIF")
    start = int(len(data) * place)
    with pytest.raises(ImageError):
        decode_image(data[:start] + random.Random(3).randbytes(40) + data[start + 40 :])


def test_a_frame_of_fewer_rows_than_its_data_is_damage():
    data = bytearray(encoded(sample_photograph(), "GIF"))
    height = data.index(struct.pack("<HHHH", 0, 0, 480, 270)) + 6
    data[height : height + 2] = struct.pack("<H", 269)
    with pytest.raises(DamagedImageError):
        decode_image(bytes(data))


@pytest.mark.parametrize("colours", [2, 3, 16, 256])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("size", [(480, 270), (1, 1), (7, 300), (300, 1)])
def test_other_variants_are_whole(colours, interlace, size):
    image = sample_photograph().quantize(colours).resize(size)
    pixels = decoded(encoded(image, "GIF", interlace=interlace))
    assert (pixels == np.asarray(image.convert("RGB"))).all()
