"""Frames of animations and pages of TIFFs: counted, and decoded one after the other."""

from __future__ import annotations

import random
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFile

from detection.d3.errors import (
    DamagedImageError,
    ImageError,
    TooManyPixelsError,
    TruncatedImageError,
)
from detection.d3.images import (
    MAX_JUDGED_FRAMES,
    ImageLimits,
    decode_frame,
    decode_frames,
    decode_image,
    spread_frames,
)
from tests.support.image_files import (
    SAMPLES,
    animated,
    close,
    colour_of,
    coloured_frames,
    each_sample,
    encoded,
    picture,
)

pytestmark = pytest.mark.stateless

each_animation = pytest.mark.parametrize("name", ["GIF", "WEBP", "AVIF", "PNG", "TIFF"])


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def colour_at(image: Image.Image, x: int = 32, y: int = 24) -> tuple[int, ...]:
    return image.getpixel((x, y))


def tiny_gif(frames: list[bytes], width: int = 64, height: int = 48) -> bytes:
    """Return a GIF of four colours: red, green, blue, and black, which may be transparent."""
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0])
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
    return head + palette + b"".join(frames) + b";"


def gif_frame(
    index: int, box: tuple[int, int, int, int], *, disposal: int = 0, transparent: bool = False
) -> bytes:
    """Return a frame of one colour at ``box`` (left, top, width, height)."""
    _, _, width, height = box
    codes = []
    for _ in range(width * height):  # with a clear code (4) before each, all codes have three bits
        codes += [4, index]
    bits = "".join(f"{code:03b}"[::-1] for code in [*codes, 5])
    packed = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = b"".join(
        bytes([len(packed[at : at + 255])]) + packed[at : at + 255]
        for at in range(0, len(packed), 255)
    )
    control = b"!\xf9\4" + bytes([disposal << 2 | transparent, 0, 0, 3, 0])
    return control + b"," + struct.pack("<HHHHB", *box, 0) + b"\2" + blocks + b"\0"


@each_sample
def test_a_picture_has_one_frame(sample):
    assert decode_image(SAMPLES[sample]).frames == (2 if sample == "animated GIF" else 1)


@each_animation
def test_frames_are_counted(name):
    assert decode_image(animated(name, coloured_frames(5))).frames == 5


def test_a_hidden_picture_is_no_frame():
    shown = coloured_frames(3)
    data = encoded(picture(), "PNG", save_all=True, append_images=shown, default_image=True)
    assert decode_image(data).frames == 3
    assert colour_at(decode_frame(data, 2)) == colour_of(2)


def test_frames_that_are_only_announced_do_not_count():
    data = bytearray(animated("PNG", coloured_frames(3)))
    body = data.index(b"acTL") + 4
    data[body - 8 : body + 12] = chunk(b"acTL", struct.pack(">II", 1000, 0))
    assert decode_image(bytes(data)).frames == 3


def test_a_cut_frame_does_not_count():
    data = animated("GIF", [picture(), picture().rotate(90), picture().rotate(180)])
    assert decode_image(data[:-200]).frames == 2


@pytest.mark.parametrize("big", [False, True])
def test_a_thumbnail_in_a_tiff_is_no_page(big):
    entry = struct.pack("<HHQI" if big else "<HHII", 254, 4, 1, 0)
    data = animated("TIFF", coloured_frames(3), tiffinfo={254: 0}, big_tiff=big)
    parts = data.split(entry)
    assert len(parts) == 4
    reduced = struct.pack("<HHQI" if big else "<HHII", 254, 4, 1, 1)
    data = parts[0] + entry + parts[1] + reduced + parts[2] + entry + parts[3]
    assert decode_image(data).frames == 2
    assert colour_at(decode_frame(data, 2)) == colour_of(3)


@each_animation
def test_any_frame_is_decoded(name):
    data = animated(name, coloured_frames(7), **({"lossless": True} if name == "WEBP" else {}))
    frames = list(decode_frames(data, [1, 3, 7]))
    for number, frame in zip([1, 3, 7], frames, strict=True):
        assert close([colour_at(frame)], [colour_of(number)], tolerance=8 if name == "AVIF" else 1)
    assert (np.asarray(frames[0]) == np.asarray(decode_image(data).pixels)).all()


def test_pages_of_a_tiff_have_sizes_of_their_own_and_are_upright():
    pages = [picture(), picture(32, 16)]
    pages[1].getexif()[0x0112] = 6
    exif = Image.Exif()
    exif[0x0112] = 6
    data = animated("TIFF", pages, exif=exif)
    assert [page.size for page in decode_frames(data, [1, 2])] == [(48, 64), (16, 32)]


def test_a_gif_is_white_where_no_frame_covers_it():
    frames = [
        gif_frame(0, (10, 10, 8, 8)),
        gif_frame(1, (30, 10, 8, 8), disposal=2),
        gif_frame(2, (10, 30, 8, 8), disposal=3),
        gif_frame(0, (50, 30, 8, 8)),
    ]
    first, second, third, fourth = decode_frames(tiny_gif(frames), [1, 2, 3, 4])
    white, red, green, blue = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
    places = [(0, 0), (14, 14), (34, 14), (14, 34), (54, 34)]
    assert [colour_at(first, *at) for at in places] == [white, red, white, white, white]
    assert [colour_at(second, *at) for at in places] == [white, red, green, white, white]
    assert [colour_at(third, *at) for at in places] == [white, red, white, blue, white]
    assert [colour_at(fourth, *at) for at in places] == [white, red, white, white, red]


def test_a_frame_beyond_the_canvas_of_a_gif_is_cropped():
    data = tiny_gif([gif_frame(0, (0, 0, 64, 48)), gif_frame(1, (60, 40, 40, 40))])
    frame = decode_frame(data, 2)
    assert frame.size == (64, 48)
    assert (colour_at(frame, 0, 0), colour_at(frame, 63, 47)) == ((255, 0, 0), (0, 255, 0))


def test_a_damaged_frame_is_refused_where_it_is_judged():
    data = bytearray(animated("PNG", [picture().rotate(angle) for angle in (0, 90, 180)]))
    data[data.rindex(b"fdAT") + 40] ^= 1
    assert decode_image(bytes(data))
    with pytest.raises(DamagedImageError):
        list(decode_frames(bytes(data), [1, 2, 3]))


def test_a_frame_without_half_of_its_rows_is_refused_where_it_is_judged():
    data = animated("PNG", [picture(), picture().rotate(180)])
    start = data.rindex(b"fdAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    half = zlib.compress(zlib.decompress(data[start + 8 : start + 4 + length])[:2000])
    cut = data[: start - 4] + chunk(b"fdAT", data[start + 4 : start + 8] + half)
    cut += data[start + 8 + length :]
    assert decode_image(cut).frames == 2
    with pytest.raises(TruncatedImageError):
        decode_frame(cut, 2)


def test_a_frame_of_a_png_beyond_its_canvas_is_refused_before_it_is_unpacked():
    data = bytearray(animated("PNG", [picture(), picture().rotate(180)]))
    body = data.rindex(b"fcTL") + 4
    control = bytearray(data[body : body + 26])
    control[4:12] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    data[body - 8 : body + 30] = chunk(b"fcTL", bytes(control))
    with pytest.raises(DamagedImageError):
        decode_frame(bytes(data), 2)


def bombs() -> dict[str, bytes]:
    """Return small files with more frames than can be decoded in a reasonable time."""
    png = animated("PNG", coloured_frames(2))
    png = png.replace(chunk(b"acTL", struct.pack(">II", 2, 0)), b"")
    announced = chunk(b"acTL", struct.pack(">II", 20_001, 0))
    start, end = png.rindex(b"fcTL") - 4, len(png) - 12
    frame = gif_frame(1, (0, 0, 1, 1))
    return {
        "GIF": tiny_gif([gif_frame(0, (0, 0, 64, 48))] + [frame] * 20_000),
        "large GIF": tiny_gif([frame] * 25, 4000, 3000),
        "PNG": png[:33] + announced + png[33:start] + png[start:end] * 20_000 + png[end:],
        "TIFF": _long_tiff(20_000),
    }


def _long_tiff(pages: int) -> bytes:
    """Return a TIFF of one page with empty directories behind it."""
    data = bytearray(encoded(picture(), "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    data += bytes(len(data) % 2)
    struct.pack_into("<I", data, start + 2 + 12 * entries, len(data))
    for number in range(pages):
        following = 0 if number == pages - 1 else len(data) + 6
        data += struct.pack("<HI", 0, following)
    return bytes(data)


@pytest.mark.parametrize("name", ["GIF", "large GIF", "PNG", "TIFF"])
def test_more_frames_than_can_be_decoded_are_refused_before_any_is(name, monkeypatch):
    data = bombs()[name]
    frames = decode_image(data).frames
    assert frames >= 20
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("It was decoded."))
    with pytest.raises(TooManyPixelsError, match="judge the first one alone"):
        next(decode_frames(data, spread_frames(frames)[1:]))


def test_pages_count_towards_the_limit_as_they_are_decoded():
    data = animated("TIFF", [picture(400, 400) for _ in range(6)])
    pages = decode_frames(data, [1, 2, 3, 4, 5, 6], ImageLimits(max_pixels=400 * 400))
    assert [next(pages).size for _ in range(4)] == [(400, 400)] * 4
    with pytest.raises(TooManyPixelsError):
        next(pages)


def test_a_page_may_have_no_more_pixels_than_an_image():
    data = animated("TIFF", [picture(), picture(200, 200)])
    assert decode_image(data, ImageLimits(max_pixels=64 * 48))
    with pytest.raises(TooManyPixelsError):
        decode_frame(data, 2, ImageLimits(max_pixels=64 * 48))


@pytest.mark.filterwarnings("ignore::UserWarning")
@each_animation
def test_damaged_bytes_give_frames_or_one_of_our_errors(name):
    chance = random.Random(name)
    data = animated(name, [picture().rotate(angle) for angle in (0, 90, 180)])
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        position = chance.randrange(len(data))
        damaged[position : position + 4] = chance.randbytes(chance.randrange(8))
        try:
            count = decode_image(bytes(damaged)).frames
            if count > 1:
                frames = list(decode_frames(bytes(damaged), spread_frames(count)))
                assert len(frames) == min(count, MAX_JUDGED_FRAMES)
        except ImageError:
            refused += 1
    assert refused


def test_judged_frames_are_spread_evenly():
    assert spread_frames(1) == [1]
    assert spread_frames(12) == list(range(1, 13))
    many = spread_frames(1000)
    steps = {later - earlier for earlier, later in pairwise(many)}
    assert (len(many), many[0], many[-1]) == (MAX_JUDGED_FRAMES, 1, 1000)
    assert max(steps) - min(steps) == 1
