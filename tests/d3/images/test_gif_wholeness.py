"""A GIF is judged if its first frame is whole."""

from __future__ import annotations

import struct

import pytest
from PIL import GifImagePlugin, Image

from tests.support.image_files import decoded, encoded, picture

pytestmark = pytest.mark.stateless


def test_a_gif_without_its_end_or_with_a_cut_second_frame_is_whole():
    data = encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(180)])
    for cut in (data[:-1], data[:-200]):
        assert (decoded(cut) == decoded(data)).all()


def test_what_the_first_frame_of_a_gif_does_not_cover_is_white():
    frame = Image.new("P", (20, 20))
    frame.putpalette([255, 0, 0] + [0, 0, 255] * 255)
    local = b"".join(GifImagePlugin.getdata(frame, (10, 10)))
    head = encoded(frame, "GIF")[:13]
    data = head[:6] + struct.pack("<HH", 64, 48) + head[10:]
    table = bytes([255, 0, 0] + [0, 0, 255] * (2 ** ((data[10] & 7) + 1) - 1))
    pixels = decoded(data + table + local + b";")

    assert (pixels[0, 0] == 255).all()
    assert tuple(pixels[15, 15]) == (255, 0, 0)
