"""Pixels that are not in the file are counted; nothing else decides whether a picture is judged."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image
from PIL.PngImagePlugin import PngInfo

from detection.d3.errors import (
    DamagedImageError,
    ImageError,
    RawPhotographError,
    TooManyPixelsError,
    TruncatedImageError,
)
from detection.d3.images.containers import image_format
from detection.d3.images.decoding import decode_image
from tests.support.image_files import close, decoded, encoded, picture, png

pytestmark = pytest.mark.stateless

SAMPLE = Path(__file__).parents[3] / "samples" / "photo-roman-colosseum.jpg"
END = b"\xff\xd9"


def photograph(**options) -> bytes:
    with Image.open(SAMPLE) as image:
        return encoded(image.resize((480, 270)), "JPEG", quality=85, **options)


def scan_of(data: bytes) -> int:
    return data.index(b"\xff\xda") + 14


def zeroed(data: bytes, start: float, end: float) -> bytes:
    first, last = (int(len(data) * share) for share in (start, end))
    return data[:first] + bytes(last - first) + data[last:]


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(added: bytes) -> bytes:
    """Behind the header of a PNG."""
    data = encoded(picture(), "PNG")
    return data[:33] + added + data[33:]


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


def brightened(data: bytes, levels: int) -> bytes:
    """As after a wrong difference between means of blocks: all blocks from one on differ."""
    with Image.open(io.BytesIO(data)) as image:
        samples = np.asarray(image).astype(int)
    samples[128:144, 240:] += levels
    samples[144:] += levels
    brighter = Image.fromarray(samples.clip(0, 255).astype(np.uint8))
    return encoded(brighter, "JPEG", quality=95)


@pytest.mark.parametrize("levels", [-30, 30])
def test_a_jpeg_whose_blocks_from_one_on_are_brighter_is_refused(levels):
    with pytest.raises(DamagedImageError):
        decode_image(brightened(photograph(), levels))


def test_a_jpeg_with_a_bar_across_is_whole():
    with Image.open(SAMPLE) as sample:
        image = sample.resize((480, 270))
    image.paste((20, 20, 20), (0, 128, 480, 160))
    assert not decode_image(encoded(image, "JPEG")).damaged


def test_an_unknown_version_of_jfif_neither_costs_the_picture_nor_hides_a_loss():
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
    for trailer in (b"", b"\0\0\1\2SEFT"):
        image = decode_image(data.removesuffix(END) + trailer)
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


def test_a_jpeg_in_inks_without_its_end_marker_is_whole():
    data = encoded(picture().convert("CMYK"), "JPEG")
    assert (decoded(data.removesuffix(END)) == decoded(data)).all()


def test_a_jpeg_that_lost_less_than_a_hundredth_is_judged_and_called_damaged():
    data = photograph()
    image = decode_image(data[: int(len(data) * 0.997)])

    assert image.damaged
    assert 0 < (np.asarray(image.pixels) != decoded(data)).any(axis=2).mean() <= 0.02


@pytest.mark.timeout(20)
def test_a_long_row_of_fill_bytes_does_not_keep_the_decoder_busy():
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
        b"\xff\xe0\x00\x02",  # JFIF without a word
        b"\xff\xee\x00\x07Adobe",
        b"\xff\xe2\x00\x10ICC_PROFILE\0\x05\x02",
    ],
)
def test_bad_segments_of_metadata_do_not_cost_the_picture(segment):
    data = photograph()
    assert (decoded(data[:2] + segment + data[2:]) == decoded(data)).all()


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
def test_other_chunks_of_a_png_do_not_cost_the_picture(added):
    assert (decoded(with_chunk(added)) == decoded(encoded(picture(), "PNG"))).all()


def test_the_orientation_and_the_software_of_a_png_are_still_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngInfo()
    info.add_text("Software", "Some Camera")
    image = decode_image(encoded(picture(), "PNG", exif=exif, pnginfo=info))
    assert (image.width, image.height) == (48, 64)
    assert image.software == "Some Camera"


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_coded_pixels_that_were_zeroed_are_refused(name):
    with Image.open(SAMPLE) as image:
        data = encoded(image.resize((480, 270)), name)
    assert decode_image(data)
    with pytest.raises(DamagedImageError):
        decode_image(zeroed(data, 0.5, 1.0))


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_a_byte_behind_the_last_box_is_no_loss(name):
    assert decode_image(encoded(picture(), name) + b"\n")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_webp_whose_coded_pixels_were_overwritten_is_refused(place):
    with Image.open(SAMPLE) as image:
        data = encoded(image.resize((480, 270)), "WEBP")
    start = int(len(data) * place)
    for overwritten in (bytes(200), random.Random(1).randbytes(200)):
        with pytest.raises(ImageError):
            decode_image(data[:start] + overwritten + data[start + 200 :])


@pytest.mark.parametrize(
    "options",
    [{"quality": 1}, {"quality": 100}, {"lossless": True}, {"exact": True}, {"exif": b"Exif\0\0?"}],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_pixels_of_a_webp_are_those_that_pillow_gives(options, mode):
    with Image.open(SAMPLE) as sample:
        image = sample.resize((481, 271)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, "WEBP", **options)
    with Image.open(io.BytesIO(data)) as opened:
        white = Image.new("RGBA", opened.size, "white")
        shown = Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")
    assert (decoded(data) == np.asarray(shown)).all()


def samsungs_directory(length: int) -> bytes:
    """Of one block of ``length`` bytes before it."""
    entry = struct.pack("<HHII", 0, 0x0A01, length, length)
    directory = b"SEFH" + struct.pack("<II", 107, 1) + entry
    return directory + struct.pack("<I", len(directory)) + b"SEFT"


def trailer(kind: str) -> bytes:
    """What cameras and phones store behind the end of a photograph."""
    picture_behind = photograph()
    film = struct.pack(">I4s8sI", 20, b"ftyp", b"mp42\0\0\0\0", 0) + bytes(range(256)) * 40
    block = b"\0\0\1\x0a\x0e\0\0\0Image_UTC_Data1600000000000"
    return {
        "zeros": bytes(5000),
        "fill bytes": b"\xff" * 5000,
        "line feed": b"\n",
        "random": random.Random(2).randbytes(5000),
        "second picture": picture_behind,  # MPF: a preview or the other eye's view
        "padded second picture": bytes(3000) + picture_behind + bytes(3000),
        "film of a motion photo": film,
        "depth map": encoded(picture().convert("L"), "PNG"),
        "Samsung's blocks": block + samsungs_directory(len(block)),
        "Samsung's film": b"MotionPhoto_Data" + film + samsungs_directory(16 + len(film)),
        "text": b'{"lens": "wide", "focus": 3}' * 100,
    }[kind]


TRAILERS = [
    "zeros",
    "fill bytes",
    "line feed",
    "random",
    "second picture",
    "padded second picture",
    "film of a motion photo",
    "depth map",
    "Samsung's blocks",
    "Samsung's film",
    "text",
]


@pytest.mark.parametrize("kind", TRAILERS)
@pytest.mark.parametrize("progressive", [False, True])
def test_what_cameras_store_behind_a_photograph_is_no_loss(kind, progressive):
    data = photograph(progressive=progressive)
    image = decode_image(data + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()
    assert not image.damaged


@pytest.mark.parametrize("kind", TRAILERS)
@pytest.mark.parametrize("name", ["AVIF", "HEIC", "WEBP", "PNG"])
def test_what_cameras_store_behind_other_types_is_no_loss(kind, name):
    data = encoded(picture(), name)
    image = decode_image(data + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()


@pytest.mark.parametrize("kind", ["zeros", "fill bytes", "line feed", "Samsung's blocks"])
def test_slack_instead_of_an_end_marker_is_no_loss(kind):
    data = photograph()
    image = decode_image(data.removesuffix(END) + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()


def test_coded_pixels_that_are_left_over_without_an_end_marker_are_damage():
    data = photograph().removesuffix(END)
    with pytest.raises(ImageError):
        decode_image(data + data[-200:])


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


def test_later_frames_of_an_animated_png_do_not_cost_the_first():
    frames = [picture().rotate(180), Image.new("RGB", (64, 48), "blue")]
    data = bytearray(encoded(picture(), "PNG", save_all=True, append_images=frames))
    data[data.rindex(b"fdAT") + 8] ^= 1
    assert close(decode_image(bytes(data)).pixels, picture(), tolerance=1)


@pytest.mark.parametrize("control", [b"", struct.pack(">II", 2, 0)])
def test_an_announced_animation_without_frames_does_not_cost_the_picture(control):
    data = with_chunk(chunk(b"acTL", control))
    assert close(decode_image(data).pixels, picture(), tolerance=1)


def test_a_gif_without_its_end_or_with_a_cut_second_frame_is_whole():
    data = encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(180)])
    for cut in (data[:-1], data[:-200]):
        assert (decoded(cut) == decoded(data)).all()


@pytest.mark.parametrize("segment", [b"\xff\xee\x00\x07Adobe", b"\xff\xe0\x00\x07JFIF\0"])
def test_bad_segments_of_metadata_do_not_cost_the_orientation(segment):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photograph(exif=exif)
    assert (decoded(data[:2] + segment + data[2:]) == decoded(data)).all()


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


def test_a_colour_map_of_8_bit_values_has_its_colours():
    image = picture().quantize(16)
    data = bytearray(encoded(image, "TIFF"))
    with Image.open(io.BytesIO(data)) as tiff:
        values = tiff.tag_v2[320]
    stored = struct.pack(f"<{len(values)}H", *values)
    start = data.index(stored)
    data[start : start + len(stored)] = struct.pack(
        f"<{len(values)}H", *(value >> 8 for value in values)
    )
    assert close(decode_image(bytes(data)).pixels, picture(), tolerance=30)


@pytest.mark.parametrize(
    "head",
    [
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        b"II*\0\x10\0\0\0CR\2\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
    ids=["RAF", "ORF", "RW2", "CR2", "CR3"],
)
def test_raw_photographs_are_told_by_their_first_bytes(head):
    with pytest.raises(RawPhotographError, match="export it as a JPEG"):
        image_format(head.ljust(100, b"\0"))


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {262: 32803}, {254: 1, 330: 8}])
@pytest.mark.parametrize("big", [False, True])
def test_a_thumbnail_of_a_raw_photograph_is_not_judged(tags, big):
    with pytest.raises(RawPhotographError):
        decode_image(encoded(picture(), "TIFF", tiffinfo=tags, big_tiff=big))


def test_a_single_plane_of_floats_is_judged():
    grey = Image.fromarray(np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64))
    planar = encoded(grey, "TIFF", tiffinfo={284: 2})
    assert (decoded(planar) == decoded(encoded(grey, "TIFF"))).all()
