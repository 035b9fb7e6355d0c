from __future__ import annotations

import io
import os
import random
import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

from detection.d3.errors import (
    D3Error,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    TooManyPixelsError,
    TruncatedImageError,
    UnsupportedImageError,
)
from detection.d3.images import ImageLimits, decode_image, upright_rgb
from detection.d3.images.formats import FORMAT_NAMES
from tests.support.image_files import (
    SAMPLES,
    decoded,
    each_sample,
    encoded,
    noisy,
    picture,
    png,
    tiff_grey,
)

pytestmark = pytest.mark.stateless


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    for source in (b"", tmp_path / "empty.png"):
        with pytest.raises(EmptyImageError):
            decode_image(source)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is a letter",
        b"BMW is not a bitmap, although it begins as one",
        b"\xff\xfe\x00\x00" * 9,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"8BPS\x00\x01" + bytes(30),
        b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41",
        encoded(picture(), "ICO"),
        encoded(picture(), "PPM"),
        encoded(picture(), "TGA"),
        encoded(picture(), "JPEG2000"),
        encoded(picture(), "PDF"),
        encoded(picture(), "EPS"),
        random.Random(7).randbytes(2000),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_anything_else_is_unsupported_whatever_its_name(data, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(UnsupportedImageError):
            decode_image(source)


def test_too_many_bytes_are_refused_before_the_file_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would not fit into memory
    with pytest.raises(ImageTooLargeError, match="25 MiB"):
        decode_image(path)


def test_the_limit_on_bytes_is_the_largest_that_passes():
    data = SAMPLES["PNG"]
    assert decode_image(data, ImageLimits(max_bytes=len(data)))
    with pytest.raises(ImageTooLargeError):
        decode_image(data, ImageLimits(max_bytes=len(data) - 1))


@each_sample
def test_the_limit_on_pixels_is_the_largest_that_passes(sample):
    assert decode_image(SAMPLES[sample], ImageLimits(max_pixels=64 * 48))
    with pytest.raises(TooManyPixelsError, match="64 × 48"):
        decode_image(SAMPLES[sample], ImageLimits(max_pixels=64 * 48 - 1))


def bomb(name: str) -> bytes:
    """Return a small file whose header promises far more pixels than any limit."""
    data = bytearray(SAMPLES[name])
    if name == "PNG":
        return png(60000, 60000, 8, 2, b"\0" * 60000)
    if name == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    elif name == "GIF":
        data[6:10] = struct.pack("<HH", 60000, 60000)
    elif name == "BMP":
        data[18:26] = struct.pack("<ii", 60000, 60000)
    elif name == "WEBP":
        extended = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\x5f\xea\0" * 2
        return b"RIFF" + struct.pack("<I", len(data) - 8 + 18) + b"WEBP" + extended + data[12:]
    elif name == "TIFF":
        return tiff_grey(np.zeros((1, 60000), np.uint16), 16, 1).replace(
            struct.pack("<HHII", 257, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, 60000)
        )
    else:
        data = bytearray(encoded(picture(64, 64), name))
        sizes = data.index(b"ispe") + 8
        data[sizes : sizes + 8] = struct.pack(">II", 16000, 16000)
    return bytes(data)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_a_decompression_bomb_is_refused_by_its_header(name):
    with pytest.raises(TooManyPixelsError):
        decode_image(bomb(name))


def test_a_jpeg_of_endless_scans_is_refused():
    data = SAMPLES["progressive JPEG"]
    scan = data.index(b"\xff\xda")
    length = 2 + struct.unpack_from(">H", data, scan + 2)[0]
    with pytest.raises(ImageError, match="scans"):
        decode_image(data[:scan] + data[scan : scan + length] * 1000 + data[scan:])


@noisy
@each_sample
def test_a_file_cut_anywhere_is_refused_unless_its_pixels_are_there(sample):
    data = SAMPLES[sample]
    whole = decoded(data)
    step = max(1, len(data) // 150)
    for length in {*range(1, len(data), step), *range(len(data) - 20, len(data))}:
        try:
            image = decode_image(data[:length])
        except ImageError:
            continue
        assert image.damaged or (np.asarray(image.pixels) == whole).all()
        assert (np.asarray(image.pixels) != whole).any(axis=2).mean() < 0.02


@noisy
@each_sample
def test_a_file_cut_in_the_middle_is_called_truncated(sample):
    data = SAMPLES[sample]
    with pytest.raises(TruncatedImageError, match="ends too early"):
        decode_image(data[: len(data) // 2])


@noisy
@each_sample
def test_a_cut_file_is_refused_although_another_library_lets_pillow_guess(sample, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = SAMPLES[sample]
    with pytest.raises(TruncatedImageError):
        decode_image(data[: len(data) * 3 // 4])


def test_a_jpeg_whose_thumbnail_alone_has_an_end_is_refused():
    thumbnail = encoded(picture(8, 8), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = SAMPLES["JPEG"][:2] + segment + SAMPLES["JPEG"][2:]
    assert (decoded(data) == decoded(SAMPLES["JPEG"])).all()
    with pytest.raises(TruncatedImageError):
        decode_image(data[:-200])


def test_a_big_tiff_that_points_beyond_all_memory_is_refused():
    with pytest.raises(TruncatedImageError):
        decode_image(b"II+\0\x08\0\0\0" + b"\xff" * 8)


def test_a_png_with_a_flipped_bit_is_refused():
    data = bytearray(SAMPLES["PNG"])
    data[len(data) // 2] ^= 16
    with pytest.raises(ImageError, match="damaged"):
        decode_image(bytes(data))


def test_a_file_that_cannot_be_opened_is_refused_with_its_name(tmp_path):
    with pytest.raises(ImageError, match=r"'gone\.jpg' cannot be read"):
        decode_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is not a file"):
        decode_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        decode_image("a\0b.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are made differently there")
def test_a_pipe_is_refused_without_reading_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="is not a file"):
        decode_image(tmp_path / "pipe.jpg")


def test_an_opened_picture_that_is_cut_is_refused_too():
    data = SAMPLES["JPEG"]
    with pytest.raises(TruncatedImageError):
        upright_rgb(Image.open(io.BytesIO(data[: len(data) - 200])))


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ImageError, match="no pixels"):
        upright_rgb(Image.new("RGB", (0, 5)))


def test_every_refusal_is_one_plain_sentence():
    sources = [b"", b"text", SAMPLES["PNG"][:99], bomb("JPEG"), bomb("HEIC"), "gone.jpg"]
    for source in sources:
        with pytest.raises(ImageError) as refusal:
            decode_image(source)
        sentence = str(refusal.value)
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert "\n" not in sentence
        assert refusal.value.code.isidentifier()


def mutated(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        position = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[position] = chance.randrange(256)
            case 1:
                damaged[position] ^= 1 << chance.randrange(8)
            case 2:
                damaged[position : position + 4] = chance.choice((b"\0" * 4, b"\xff" * 4))
            case _:
                del damaged[position : position + chance.randrange(1, 9)]
    return bytes(damaged)


@noisy
@each_sample
def test_damaged_bytes_give_a_picture_or_one_of_our_errors(sample):
    chance = random.Random(sample)
    refused = 0
    limits = ImageLimits(max_pixels=10**6)
    for _ in range(300):
        try:
            image = decode_image(mutated(SAMPLES[sample], chance), limits)
            assert image.pixels.mode == "RGB"
        except D3Error:
            refused += 1
    assert refused > 10
