from __future__ import annotations

import hashlib
import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from detection.d3.errors import ImageError
from detection.d3.images import decode_image, image_format, upright_rgb
from detection.d3.images.formats import FORMAT_NAMES
from tests.support.image_files import (
    BLUE,
    GREEN,
    RED,
    SAMPLES,
    WHITE,
    close,
    decoded,
    each_sample,
    encoded,
    noisy,
    picture,
    png,
    tiff_grey,
)

pytestmark = pytest.mark.stateless

# Types


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_every_type_is_decoded_to_the_picture_that_was_saved(name):
    image = decode_image(SAMPLES[name])

    assert image.format == name
    assert (image.width, image.height) == image.pixels.size == (64, 48)
    assert image.pixels.mode == "RGB"
    assert close(image.pixels, picture())


@each_sample
def test_facts_are_those_of_the_original_bytes(sample):
    data = SAMPLES[sample]
    image = decode_image(data)
    assert image.size_bytes == len(data)
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_an_ordinary_jpeg_has_the_values_that_pillow_gives():
    data = SAMPLES["JPEG"]
    assert (decoded(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


def test_the_content_counts_and_not_the_name(tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(SAMPLES["PNG"])
    assert decode_image(path).format == decode_image(str(path)).format == "PNG"


@pytest.mark.parametrize("name", ["GIF", "WEBP", "AVIF", "TIFF", "PNG"])
def test_the_first_frame_or_page_is_read(name):
    second = Image.new("RGB", (64, 48), "black")
    data = encoded(picture(), name, save_all=True, append_images=[second])
    assert close(decode_image(data).pixels, picture())


def test_the_primary_picture_of_a_heic_is_read():
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 48)))
    heif.add_from_pillow(picture())
    buffer = io.BytesIO()
    heif.save(buffer, primary_index=1)
    assert close(decode_image(buffer.getvalue()).pixels, picture())


def test_a_jpeg_with_further_pictures_behind_it_is_a_jpeg():
    data = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    assert decode_image(data).format == "JPEG"
    assert close(decode_image(data).pixels, picture())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_bytes_appended_behind_the_image_do_not_matter(name):
    assert (decoded(SAMPLES[name] + b"trailer" * 9) == decoded(SAMPLES[name])).all()


def test_a_mif1_file_is_recognised_by_its_other_brands():
    for name in ("AVIF", "HEIC"):
        data = SAMPLES[name]
        assert image_format(data[:8] + b"mif1" + data[12:]) == name


def test_decoding_is_the_same_from_many_threads():
    jobs = list(SAMPLES.values()) * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode_image(data).pixels.tobytes(), jobs))
    assert together == [decode_image(data).pixels.tobytes() for data in jobs]


# Modes and depths


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_alpha_is_composited_on_white(name):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 16, 32))
    pixels = decoded(encoded(image, name))
    assert close(pixels[:, :14], [200, 0, 0], 6)
    assert close(pixels[:, 18:], WHITE, 3)


def test_half_transparency_is_blended():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.abs(decoded(encoded(image, "PNG")) - 127).max() <= 1


def test_a_high_picture_is_composited_as_a_low_one():
    image = picture(64, 600)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGBA", image.size, "white")
    whole = Image.alpha_composite(white, image).convert("RGB")
    assert (np.asarray(upright_rgb(image)) == np.asarray(whole)).all()


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_every_mode_with_alpha_is_composited_on_white(mode):
    rgba = Image.new("RGBA", (4, 2), (0, 0, 0, 255))
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    image = rgba.convert("LA").convert(mode) if mode == "La" else rgba.convert(mode)
    pixels = upright_rgb(image)
    assert pixels.getpixel((0, 0)) == WHITE
    assert pixels.getpixel((1, 0)) == (0, 0, 0)


def test_a_transparent_palette_entry_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    for transparency in (1, bytes([255, 0])):
        pixels = decoded(encoded(image, "PNG", transparency=transparency))
        assert pixels.tolist() == [[[*RED], [*WHITE]]]
    assert decoded(encoded(image, "GIF", transparency=1)).tolist() == [[[*RED], [*WHITE]]]


def test_partly_transparent_palette_entries_are_blended():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, *BLUE])
    pixels = decoded(encoded(image, "PNG", transparency=bytes([128, 255])))
    assert abs(pixels[0, 0, 0] - 127) <= 1


def test_the_transparent_colour_of_a_true_colour_png_becomes_white():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    pixels = decoded(encoded(image, "PNG", transparency=GREEN))
    assert pixels.tolist() == [[[*RED], [*WHITE]]]


@pytest.mark.parametrize(
    ("depth", "row", "key", "greys"),
    [
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 1, [255, 170]),
        (4, b"\x3a", 3, [255, 170]),
        (8, b"\x05\x99", 5, [255, 0x99]),
        (16, b"\x01\x02\x80\x80", 0x0102, [255, 128]),
    ],
)
def test_the_transparent_grey_of_a_png_becomes_white_at_every_depth(depth, row, key, greys):
    data = png(2, 1, depth, 0, b"\0" + row, (b"tRNS", struct.pack(">H", key)))
    assert decoded(data)[0, :, 0].tolist() == greys


def test_the_transparent_colour_of_a_16_bit_png_becomes_white():
    row = struct.pack(">6H", 0x1234, 0, 0, 0x5678, 0, 0)
    data = png(2, 1, 16, 2, b"\0" + row, (b"tRNS", struct.pack(">3H", 0x1234, 0, 0)))
    assert decoded(data).tolist() == [[[*WHITE], [0x56, 0, 0]]]


GREY_16 = np.array([[0, 257, 32768], [40000, 65278, 65535]], np.uint16)
GREY_8 = [[0, 1, 128], [156, 254, 255]]


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(name):
    assert decoded(encoded(Image.fromarray(GREY_16), name))[..., 0].tolist() == GREY_8


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4"])
def test_16_bit_grey_is_scaled_in_every_mode(kind):
    image = Image.fromarray(GREY_16.astype(kind))
    assert np.asarray(upright_rgb(image))[..., 1].tolist() == GREY_8


def test_a_big_endian_or_compressed_16_bit_tiff_is_scaled():
    big_endian = Image.frombytes("I;16B", (3, 2), GREY_16.astype(">u2").tobytes())
    assert decoded(encoded(big_endian, "TIFF"))[..., 0].tolist() == GREY_8
    compressed = encoded(Image.fromarray(GREY_16), "TIFF", compression="tiff_lzw")
    assert decoded(compressed)[..., 0].tolist() == GREY_8


def test_16_bit_grey_whose_white_is_zero_is_inverted():
    assert decoded(tiff_grey(GREY_16, 16, 0))[..., 0].tolist() == (255 - np.array(GREY_8)).tolist()


def test_12_bit_grey_is_scaled_to_its_own_white():
    samples = np.array([[0, 2048, 4095, 16]], np.uint16)
    assert decoded(tiff_grey(samples, 12, 1))[0, :, 0].tolist() == [0, 128, 255, 1]


def test_16_bit_colour_keeps_its_brightness():
    row = struct.pack(">6H", 65535, 32768, 0, 257, 65278, 0)
    assert close(decoded(png(2, 1, 16, 2, b"\0" + row)), [[[255, 128, 0], [1, 254, 0]]], 1)


def test_floats_from_0_to_1_are_scaled():
    data = encoded(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF")
    assert decoded(data)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[0, 200]], np.float32),
        np.array([[0, np.nan]], np.float32),
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 7]], np.int32),
    ],
)
def test_samples_without_a_known_white_are_refused(samples):
    with pytest.raises(ImageError, match="brightness is undefined"):
        decode_image(encoded(Image.fromarray(samples), "TIFF"))


@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF"])
def test_one_bit_pictures_are_black_and_white(name):
    image = Image.new("1", (9, 1))
    image.putpixel((8, 0), 1)
    assert decoded(encoded(image, name))[0, :, 2].tolist() == [0] * 8 + [255]


@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes_give_their_colours(name):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([2, 0, 1])
    assert decoded(encoded(image, name)).tolist() == [[[*BLUE], [*RED], [*GREEN]]]


def test_cmyk_jpegs_have_the_right_colours():
    """Pillow writes what Adobe does: inverted values with an Adobe marker."""
    data = encoded(picture().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert close(decode_image(data).pixels, picture(), 6)


@pytest.mark.parametrize(
    ("stored", "colour"), [((0, 128, 128, 255), WHITE), ((179, 171, 0, 255), RED)]
)
def test_ycck_jpegs_have_the_right_colours(stored, colour):
    """Pillow writes no YCCK, but solid components and the Adobe transform flag make one."""
    inverted = tuple(255 - value for value in stored)
    data = bytearray(encoded(Image.new("CMYK", (16, 16), inverted), "JPEG", quality=100))
    data[data.index(b"Adobe") + 11] = 2
    assert close(decoded(bytes(data)), colour, 3)


def test_cmyk_tiffs_have_the_right_colours():
    assert close(decode_image(encoded(picture().convert("CMYK"), "TIFF")).pixels, picture(), 3)


def test_lab_tiffs_have_the_right_colours():
    lab = ImageCms.profileToProfile(
        picture(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert close(decode_image(encoded(lab, "TIFF")).pixels, picture(), 3)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_pictures_of_other_colour_models_have_the_right_colours(mode):
    assert close(upright_rgb(picture().convert(mode)), picture(), 4)


def test_ycbcr_tiffs_have_the_right_colours():
    data = encoded(picture(), "TIFF", compression="jpeg")
    assert close(decode_image(data).pixels, picture(), 4)


def test_a_bmp_whose_fourth_byte_is_unused_is_not_invisible():
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert decoded(encoded(image, "BMP")).tolist() == [[[10, 20, 30]] * 2] * 2


def test_colour_profiles_are_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (decoded(encoded(picture(), "PNG", icc_profile=profile)) == np.asarray(picture())).all()


# Orientation


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags.tobytes()


def oriented(name: str, orientation: int) -> tuple[bytes, Image.Image]:
    """Return a file of the picture as a camera would store it, and the picture as it is shown."""
    tagged = Image.open(io.BytesIO(encoded(picture(), "JPEG", quality=95, exif=exif(orientation))))
    expected = ImageOps.exif_transpose(tagged).convert("RGB")
    return encoded(picture(), name, exif=exif(orientation)), expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_the_orientation_is_applied_once(name, orientation):
    data, expected = oriented(name, orientation)
    image = decode_image(data)
    assert (image.width, image.height) == expected.size
    assert close(image.pixels, expected)


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_a_decoded_picture_is_not_turned_a_second_time(name):
    pixels = decode_image(oriented(name, 6)[0]).pixels
    assert upright_rgb(pixels).tobytes() == pixels.tobytes()


def test_an_opened_picture_is_turned_in_a_copy():
    data, expected = oriented("PNG", 8)
    image = Image.open(io.BytesIO(data))
    upright = upright_rgb(image)
    assert upright.size == expected.size
    assert image.size == (64, 48)
    assert upright_rgb(ImageOps.exif_transpose(image)).tobytes() == upright.tobytes()


@noisy
@pytest.mark.parametrize("rubbish", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_a_picture_with_damaged_exif_is_decoded(rubbish):
    data = encoded(picture(), "JPEG", exif=rubbish)
    assert (decoded(data) == decoded(SAMPLES["JPEG"])).all()


def claims(**tags: str) -> tuple[str, str]:
    """Return the camera and the software that are read from a JPEG with these EXIF tags."""
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    decoded = decode_image(buffer.getvalue())
    return decoded.camera, decoded.software


def test_camera_and_software_are_read_from_exif():
    assert claims(Make="NIKON", Model="D90", Software="Editor 3") == ("NIKON D90", "Editor 3")
    assert claims(Make="Canon", Model="Canon EOS R5") == ("Canon EOS R5", "")
    assert claims(Model="X100") == ("X100", "")
    assert claims() == ("", "")


def test_claims_of_metadata_are_plain_and_short():
    assert claims(Model="A\x00\x07 \n B ", Software="x" * 5000) == ("A B", "x" * 100)


def test_the_software_that_a_png_names_is_read():
    buffer = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "a generator")
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=text)

    assert decode_image(buffer.getvalue()).software == "a generator"
