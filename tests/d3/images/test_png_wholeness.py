"""A PNG is judged if its pixels are whole, whatever its other chunks are like."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from detection.d3.errors import (
    DamagedImageError,
    TooManyPixelsError,
    TruncatedImageError,
)
from detection.d3.images.decoding import decode_image
from tests.support.image_files import close, decoded, encoded, picture, png

pytestmark = pytest.mark.stateless


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(added: bytes) -> bytes:
    """Return a PNG with the chunk ``added`` behind its header."""
    data = encoded(picture(), "PNG")
    return data[:33] + added + data[33:]


def test_a_png_of_half_the_rows_is_refused():
    rows = b"".join(b"\0" + bytes([200] * 64 * 3) for _ in range(24))
    with pytest.raises(TruncatedImageError):
        decode_image(png(64, 48, 8, 2, rows))


def test_a_png_whose_last_row_is_black_is_whole():
    rows = b"".join(b"\0" + bytes([200 * (row < 47)] * 64 * 3) for row in range(48))
    assert not decode_image(png(64, 48, 8, 2, rows)).damaged


def test_an_interlaced_png_without_its_last_pass_is_refused():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 17, 8, 0, 0, 0, 1))
    sizes = [(2, 3), (2, 3), (4, 2), (4, 5), (8, 4), (8, 9), (16, 8)]
    passes = [(b"\0" + bytes([200] * columns)) * rows for columns, rows in sizes]

    def file(passes):
        pixels = chunk(b"IDAT", zlib.compress(b"".join(passes)))
        return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")

    assert not decode_image(file(passes)).damaged
    with pytest.raises(TruncatedImageError):
        decode_image(file(passes[:-1]))


@pytest.mark.parametrize("broken", [b"", b"\0"])
def test_the_pixels_of_a_png_are_counted_before_any_is_decompressed(broken):
    data = png(20_000, 20_000, 8, 2, bytes(1000), (b"acTL", broken))
    with pytest.raises(TooManyPixelsError):
        decode_image(data)


def test_a_png_with_a_second_header_is_refused():
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    with pytest.raises(DamagedImageError):
        decode_image(with_chunk(chunk(b"IHDR", header)))


def test_a_png_that_lost_less_than_a_hundredth_is_judged_and_called_damaged():
    rows = b"".join(b"\0" + bytes([200] * 64 * 3) for _ in range(199))
    image = decode_image(png(64, 200, 8, 2, rows))

    assert image.damaged
    assert decode_image(png(64, 199, 8, 2, rows)).damaged is False


def test_a_png_without_its_end_is_whole():
    data = encoded(picture(), "PNG")
    image = decode_image(data[: data.index(b"IEND") - 4])
    assert (np.asarray(image.pixels) == decoded(data)).all()
    assert not image.damaged


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"tEXt", b"Comment\0words", checksum=0),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"node " * 400_000)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"node " * 400_000)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"iCCP", b"profile\0\7rubbish"),
        chunk(b"pHYs", b"\0\0"),
        chunk(b"gAMA", b"\0"),
    ],
    ids=["text checksum", "long text", "long itxt", "long profile", "bad profile", "pHYs", "gAMA"],
)
def test_a_png_with_other_bad_chunks_is_decoded(added):
    assert (decoded(with_chunk(added)) == decoded(encoded(picture(), "PNG"))).all()


def test_the_orientation_and_the_software_of_a_png_are_still_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngInfo()
    info.add_text("Software", "Some Camera")
    image = decode_image(encoded(picture(), "PNG", exif=exif, pnginfo=info))
    assert (image.width, image.height) == (48, 64)
    assert image.software == "Some Camera"


def test_of_an_animated_png_the_first_frame_that_is_shown_is_judged():
    shown = [picture(), Image.new("RGB", (64, 48), "blue")]
    hidden = Image.new("RGB", (64, 48), "red")
    data = encoded(hidden, "PNG", save_all=True, append_images=shown, default_image=True)
    assert close(decode_image(data).pixels, picture())


def test_an_animated_png_without_half_of_its_first_frame_is_refused():
    rows = (b"\0" + bytes([200] * 64 * 3)) * 48
    control = struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 1, 0, 0)
    start = png(64, 48, 8, 2, rows, (b"acTL", struct.pack(">II", 1, 0)))[:-12]

    def file(rows):
        frame = chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(rows))
        return start + chunk(b"fcTL", control) + frame + chunk(b"IEND", b"")

    assert decode_image(file(rows))
    with pytest.raises(TruncatedImageError):
        decode_image(file(rows[: len(rows) // 2]))


def test_the_first_frame_of_an_animated_png_is_decoded_before_a_damaged_one():
    frames = [picture().rotate(180), Image.new("RGB", (64, 48), "blue")]
    data = bytearray(encoded(picture(), "PNG", save_all=True, append_images=frames))
    data[data.rindex(b"fdAT") + 8] ^= 1
    assert close(decode_image(bytes(data)).pixels, picture(), tolerance=1)


@pytest.mark.parametrize("control", [b"", struct.pack(">II", 2, 0)])
def test_the_picture_of_an_announced_animation_without_frames_is_decoded(control):
    data = with_chunk(chunk(b"acTL", control))
    assert close(decode_image(data).pixels, picture(), tolerance=1)
