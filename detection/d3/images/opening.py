"""Open a file of any type, with or without Pillow, and check that its pixels are complete."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageFile, ImagePalette
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from ..errors import ImageError, TooManyPixelsError
from .avif import check_avif
from .frames import FrameBudget
from .gif import gif_canvas, has_spare_pixels, shown_frames
from .heic import check_heic
from .jpeg import ADOBE, EXIF, TEXTS, check_scans, decode_jpeg, jpeg_size, jpeg_without_texts
from .png import check_frames, mended_png, png_size, reduced_png
from .raw import check_tags
from .tiff import tiff_pages
from .tiff_strips import check_strips
from .webp import decode_webp, webp_size
from .wholeness import check_whole, damaged, undecodable

# Image.open would also try every other plugin that the process registered.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
    "HEIC": HeifImageFile,
}

# Pillow scales the pixels of a PNG to 8 bits, but not its transparent value.
_PNG_KEY_TO_8_BIT = {
    "L;2": lambda grey: grey * 85,
    "L;4": lambda grey: grey * 17,
    "RGB;16B": lambda colour: tuple(value >> 8 for value in colour),
}

_DECODED_AGAIN = {"AVIF": check_avif, "HEIC": check_heic}

_SIGNED, _FLOAT = 2, 3  # sample formats of a TIFF


def open_image(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, float]:
    """Return the picture, whose pixels may not be read yet, and the share of missing pixels."""
    if name == "JPEG":
        return _decode_jpeg(data, max_pixels)
    if name == "PNG":
        return _decode_png(data, max_pixels)
    if name == "WEBP":
        return _decode_webp(data, max_pixels), 0.0
    image = _open(data, name, max_pixels)
    if check := _DECODED_AGAIN.get(name):
        image.load()
        check(data)
    if name == "GIF" and has_spare_pixels(data):
        raise damaged("GIF")
    return image, 0.0


def first_frame(image: Image.Image) -> Image.Image:
    """Return the first frame of an opened file as it is shown."""
    if isinstance(image, GifImageFile):
        [image] = shown_frames(image, [1])
    return image


def open_frames(
    data: bytes, name: str, numbers: Sequence[int], max_pixels: int
) -> Iterator[Image.Image]:
    """Yield frames or pages by their numbers, which ascend from 1; each is valid until the next.

    Raises TooManyPixelsError if all together have too many pixels.
    """
    last, budget = numbers[-1], FrameBudget(max_pixels)
    if name == "TIFF":
        yield from _tiff_pages(data, numbers, budget)
    elif name == "GIF":
        budget.spend(gif_canvas(data, last), frames=last)
        yield from shown_frames(_open(data, name, max_pixels), numbers)
    else:
        if name == "PNG":
            budget.spend(png_size(data), frames=last)
            image, _ = _decode_png(data, max_pixels, last=last)
        else:
            image = _open(data, name, max_pixels)
            budget.spend(image.size, frames=last)
        first = image.tell()  # 1 where a PNG hides its picture
        for number in numbers:
            image.seek(first + number - 1)
            yield image


def _tiff_pages(
    data: bytes, numbers: Sequence[int], budget: FrameBudget
) -> Iterator[TiffImageFile]:
    image, places = _open(data, "TIFF", budget.max_pixels), tiff_pages(data)
    budget.spend((0, 0), frames=places[numbers[-1] - 1] + 1 - len(numbers))  # skipped ones
    for number in numbers:
        image.seek(places[number - 1])
        check_pixels(image.size, budget.max_pixels)
        budget.spend(image.size)
        _prepare(image, data)
        yield image


def _open(data: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open an image without reading its pixels."""
    if name == "WEBP" and (size := webp_size(data)):
        check_pixels(size, max_pixels)
    if name == "TIFF" and data[2:4] in (b"*\0", b"\0*", b"+\0"):
        check_tags(data)
    image = _READERS[name](io.BytesIO(data))
    check_pixels(image.size, max_pixels)
    check_whole(data, name)
    _prepare(image, data)
    return image


def _decode_jpeg(data: bytes, max_pixels: int) -> tuple[Image.Image, float]:
    """Decode a JPEG; Pillow decodes CMYK, since it knows which programs store inverted values."""
    segments = check_scans(data)
    if not (size := jpeg_size(data)):
        return _open(data, "JPEG", max_pixels), 0.0
    check_pixels(size, max_pixels)
    samples, mode, lost = decode_jpeg(data, segments)
    described = _described_jpeg(data + b"\xff\xd9")
    if mode == "CMYK" and described is not None:
        return described, lost
    height, width, _ = samples.shape
    image = Image.frombuffer(mode, (width, height), samples, "raw", mode, 0, 1)
    if described is not None:
        image.info, image._exif = described.info, described.getexif()
    return image, lost


def _described_jpeg(data: bytes) -> JpegImageFile | None:
    """Open a JPEG with Pillow for its metadata; leave out damaged metadata beside EXIF."""
    for texts in (frozenset(), TEXTS - {EXIF, ADOBE}, TEXTS - {EXIF}):
        try:
            return JpegImageFile(io.BytesIO(jpeg_without_texts(data, texts)))
        except Exception:  # damaged metadata say nothing about the pixels
            continue
    return None


def _decode_png(data: bytes, max_pixels: int, *, last: int = 1) -> tuple[Image.Image, float]:
    """Decode the first frame, and check the frames up to number ``last``."""
    data, lost = reduced_png(data, animated=last > 1), 0.0
    check_pixels(png_size(data), max_pixels)
    try:
        image = _open(data, "PNG", max_pixels)
        image.load()
        # The last row of an interlaced picture does not lie at the end of the samples.
        is_complete = "interlace" not in image.info and np.asarray(image)[-1].any()
    except (OSError, SyntaxError, EOFError):
        is_complete = False
    if not is_complete:
        data, lost = mended_png(data)
        image = _open(data, "PNG", max_pixels)
    if image.info.get("default_image"):  # a picture for programs that show no animations
        image.seek(1)
    if last > 1 or image.tell():
        check_frames(data, last)
    return image, lost


def _decode_webp(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture; an animation is only opened."""
    image = _open(data, "WEBP", max_pixels)
    if (samples := decode_webp(data, image.size)) is None:
        return image
    decoded = Image.frombuffer("RGBA", image.size, samples, "raw", "RGBA", 0, 1)
    decoded = decoded if image.mode == "RGBA" else decoded.convert("RGB")
    decoded.info = image.info
    return decoded


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raise TooManyPixelsError if an image of ``size`` has more than ``max_pixels``."""
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"The image has {width} × {height} pixels, more than the limit of {max_pixels:,}."
        )


def _prepare(image: ImageFile.ImageFile, data: bytes) -> None:
    """Correct what Pillow misreads, which is possible only before it reads the pixels."""
    if isinstance(image, PngImageFile) and "transparency" in image.info and image.tile:
        to_8_bit = _PNG_KEY_TO_8_BIT.get(image.tile[0].args)
        if to_8_bit:
            image.info["transparency"] = to_8_bit(image.info["transparency"])
    if isinstance(image, TiffImageFile):
        _prepare_tiff(image, data)
    if isinstance(image, BmpImageFile) and image.mode == "RGBA":
        image.load()
        if image.getextrema()[3] == (0, 0):  # the fourth byte is unused, as in many BMPs
            image.putalpha(255)


def _prepare_tiff(image: TiffImageFile, data: bytes) -> None:
    tags = image.tag_v2
    is_compressed = tags.get(Base.Compression, 1) != 1
    if is_compressed:
        check_strips(image, data)
    planes = tags.get(Base.SamplesPerPixel, 1) if tags.get(Base.PlanarConfiguration) == 2 else 1
    depth = max(tags.get(Base.BitsPerSample, (1,)))
    is_grey = tags.get(Base.PhotometricInterpretation) in (0, 1)
    if planes > 1 and (is_grey or (depth > 8 and not is_compressed)):  # Pillow mixes the planes
        raise undecodable("TIFF")
    kinds = tags.get(Base.SampleFormat, ())
    if _SIGNED in kinds and depth <= 16:
        raise ImageError("The image has signed samples, so its brightness is undefined.")
    if _FLOAT in kinds and is_compressed and tags.prefix == b"MM":  # Pillow swaps no bytes
        raise undecodable("TIFF")
    colours = tags.get(Base.ColorMap, ())
    if image.mode == "P" and colours and max(colours) < 256:  # stored in 8 bits instead of 16
        image.load()
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
        image.im.putpalette("RGB", "RGB;L", bytes(colours))
