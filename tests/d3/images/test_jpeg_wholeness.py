"""Whether a JPEG is judged depends on the number of its missing pixels and on nothing else."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from detection.d3.errors import DamagedImageError, ImageError, TruncatedImageError
from detection.d3.images.decoding import decode_image
from tests.support.image_files import (
    decoded,
    encoded,
    photograph,
    picture,
    sample_photograph,
    zeroed,
)
from tests.support.trailers import TRAILERS, trailer

pytestmark = pytest.mark.stateless

END = b"\xff\xd9"


def brightened(data: bytes, levels: int) -> bytes:
    """Return the picture as after a wrong difference between means: all later blocks differ."""
    with Image.open(io.BytesIO(data)) as image:
        samples = np.asarray(image).astype(int)
    samples[128:144, 240:] += levels
    samples[144:] += levels
    brighter = Image.fromarray(samples.clip(0, 255).astype(np.uint8))
    return encoded(brighter, "JPEG", quality=95)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_with_an_end_marker_is_refused(share, progressive):
    data = photograph(progressive=progressive)

    with pytest.raises(TruncatedImageError):
        decode_image(data[: int(len(data) * share)] + END)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.999), (0.6, 0.7)])
def test_a_jpeg_with_a_hole_of_zeros_is_refused(start, end):
    with pytest.raises(DamagedImageError, match="lost or wrong"):
        decode_image(zeroed(photograph(), start, end))


def test_a_jpeg_that_lost_some_of_its_data_is_refused():
    data = photograph()
    with pytest.raises(ImageError):
        decode_image(data[:9000] + data[11000:])


def test_a_jpeg_with_a_strange_marker_among_its_pixels_is_refused():
    data = photograph()
    half = len(data) // 2
    with pytest.raises(DamagedImageError):
        decode_image(data[:half] + b"\xff\xd8" + data[half + 2 :])


@pytest.mark.parametrize("levels", [-30, 30])
def test_a_jpeg_with_a_jump_of_brightness_that_stays_is_refused(levels):
    with pytest.raises(DamagedImageError):
        decode_image(brightened(photograph(), levels))


def test_a_jpeg_with_a_bar_across_is_whole():
    image = sample_photograph()
    image.paste((20, 20, 20), (0, 128, 480, 160))
    assert not decode_image(encoded(image, "JPEG")).damaged


def test_an_unknown_version_of_jfif_prevents_no_decoding_and_hides_no_loss():
    data = photograph()
    later = data.replace(b"JFIF\0\1", b"JFIF\0\7")
    assert (decoded(later) == decoded(data)).all()
    with pytest.raises(TruncatedImageError):
        decode_image(later[: len(data) // 2])


def test_a_jpeg_that_promises_more_rows_is_refused():
    data = bytearray(photograph())
    height = data.index(b"\xff\xc0") + 5
    data[height : height + 2] = struct.pack(">H", 540)
    with pytest.raises(ImageError):
        decode_image(bytes(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole(progressive):
    data = photograph(progressive=progressive)
    for behind in (b"", b"\0\0\1\2SEFT"):
        image = decode_image(data.removesuffix(END) + behind)
        assert (np.asarray(image.pixels) == decoded(data)).all()
        assert not image.damaged


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("end", [b"", END])
def test_zeros_behind_the_pixels_of_a_jpeg_are_padding(options, end):
    data = photograph(**options)
    image = decode_image(data.removesuffix(END) + bytes(200) + end)
    assert (np.asarray(image.pixels) == decoded(data)).all()
    assert not image.damaged


@pytest.mark.parametrize("end", [b"", END])
def test_a_jpeg_whose_second_half_is_zeros_is_refused(end):
    with pytest.raises(ImageError, match="JPEG"):
        decode_image(zeroed(photograph(), 0.5, 1) + end)


def test_a_cmyk_jpeg_without_its_end_marker_is_whole():
    data = encoded(picture().convert("CMYK"), "JPEG")
    assert (decoded(data.removesuffix(END)) == decoded(data)).all()


def test_a_jpeg_that_lost_less_than_a_hundredth_is_judged_and_called_damaged():
    data = photograph()
    image = decode_image(data[: int(len(data) * 0.997)])

    assert image.damaged
    assert 0 < (np.asarray(image.pixels) != decoded(data)).any(axis=2).mean() <= 0.02


@pytest.mark.timeout(20)
def test_a_long_row_of_fill_bytes_does_not_occupy_the_decoder():
    data = photograph()
    with pytest.raises(ImageError):
        decode_image(data[:2] + b"\xff" * 200_000 + b"\0" + data[2:])
    assert (decoded(data[:2] + b"\xff" * 200_000 + data[2:]) == decoded(data)).all()


def test_the_pixels_are_those_that_pillow_gives():
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}):
        data = photograph(**options)
        with Image.open(io.BytesIO(data)) as image:
            assert (decoded(data) == np.asarray(image)).all()


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\x00\x02",  # JFIF without content
        b"\xff\xee\x00\x07Adobe",
        b"\xff\xe2\x00\x10ICC_PROFILE\0\x05\x02",
    ],
)
def test_a_picture_with_bad_segments_of_metadata_is_decoded(segment):
    data = photograph()
    assert (decoded(data[:2] + segment + data[2:]) == decoded(data)).all()


@pytest.mark.parametrize("kind", TRAILERS)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_trailer_of_a_camera_is_no_loss(kind, progressive):
    data = photograph(progressive=progressive)
    image = decode_image(data + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()
    assert not image.damaged


@pytest.mark.parametrize("kind", ["zeros", "fill bytes", "line feed", "Samsung's blocks"])
def test_slack_instead_of_an_end_marker_is_no_loss(kind):
    data = photograph()
    image = decode_image(data.removesuffix(END) + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()


def test_spare_coded_pixels_without_an_end_marker_are_damage():
    data = photograph().removesuffix(END)
    with pytest.raises(ImageError):
        decode_image(data + data[-200:])


@pytest.mark.parametrize("segment", [b"\xff\xee\x00\x07Adobe", b"\xff\xe0\x00\x07JFIF\0"])
def test_the_orientation_is_read_beside_bad_segments_of_metadata(segment):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photograph(exif=exif)
    assert (decoded(data[:2] + segment + data[2:]) == decoded(data)).all()
