"""Decode bytes, a file or a PIL image to upright 8-bit RGB pixels, or raise an ImageError.

Colour profiles are ignored on purpose: detectors are trained on stored values, and a conversion
would blur the traces that a detector looks for. Transparency is composited on white.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImagePalette
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from ..errors import D3Error, EmptyImageError, ImageError, ImageTooLargeError, TooManyPixelsError
from ..files import reason
from .containers import (
    check_single,
    check_whole,
    image_format,
    truncated,
    undecodable,
    webp_size,
)
from .jpeg import ADOBE, EXIF, TEXTS, check_scans, decode_jpeg, jpeg_size, jpeg_without_texts
from .png import check_first_frame, mended_png, png_size, png_without_texts, reduced_png
from .raw import check_tags

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

_WITHOUT_TEXTS = {"JPEG": jpeg_without_texts, "PNG": png_without_texts}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow scales the pixels of a PNG to 8 bits, but not its transparent value.
_PNG_KEY_TO_8_BIT = {
    "L;2": lambda grey: grey * 85,
    "L;4": lambda grey: grey * 17,
    "RGB;16B": lambda colour: tuple(value >> 8 for value in colour),
}

_TIFF_PIECES = (
    (Base.StripOffsets, Base.StripByteCounts),
    (Base.TileOffsets, Base.TileByteCounts),
)

_WHITE_16_BIT = 65535
MAX_CLAIM = 100  # characters of camera and of software


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The most bytes and the most pixels (width × height) of an image that is decoded."""

    max_bytes: int = 25 * 2**20
    max_pixels: int = 50_000_000


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Upright RGB ``pixels`` and facts of the file.

    ``width`` and ``height`` are those of ``pixels``, ``size_bytes`` and ``sha256`` (hex) those of
    the original bytes. ``camera`` and ``software`` are claims of the metadata, at most 100
    characters each, or empty. A ``damaged`` file lacks up to 1 % of the pixels.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    camera: str = ""
    software: str = ""
    damaged: bool = False


def decode_image(source: bytes | str | Path, limits: ImageLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Decode the bytes, or the file at the path; of several frames or pages, the first.

    Raises EmptyImageError, ImageTooLargeError, UnsupportedImageError, RawPhotographError,
    PolyglotImageError, TooManyPixelsError, TruncatedImageError or DamagedImageError if the file
    lacks more than 1 % of the pixels, or ImageError for other data that cannot be decoded and for a
    file that cannot be opened.
    """
    data = _read(source, limits.max_bytes)
    name = image_format(data)
    check_single(data, _WITHOUT_TEXTS.get(name, bytes)(data))
    pixels, facts = _decode(data, name, limits.max_pixels)
    return DecodedImage(
        pixels=pixels,
        format=name,
        width=pixels.width,
        height=pixels.height,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        **facts,
    )


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a new 8-bit RGB image, turned upright by the image's EXIF or XMP orientation.

    Transparency is composited on white, 16-bit grey is scaled to 8. The new image has no metadata,
    so that nothing can turn it a second time.

    Raises ImageError if the pixels of a lazily opened image cannot be read, or if its samples have
    no fixed white (32-bit integers, floats outside 0..1).
    """
    if 0 in image.size:
        raise ImageError("The image has no pixels.")
    with _refusals(image.format or "image"):
        image.load()
        rgb = _to_rgb(image)
        if (turn := _TURNS.get(_orientation(image))) is not None:  # the first turn is 0
            rgb = rgb.transpose(turn)
        rgb.info = {}
        return rgb


def _read(source: bytes | str | Path, max_bytes: int) -> bytes:
    data = source if isinstance(source, bytes) else _read_file(Path(source), max_bytes)
    check_size(len(data), max_bytes)
    return data


def check_size(size: int, max_bytes: int) -> None:
    """Raise EmptyImageError or ImageTooLargeError unless ``size`` is 1 to ``max_bytes`` bytes."""
    if not size:
        raise EmptyImageError("The file is empty.")
    if size > max_bytes:
        raise _too_large(max_bytes)


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a device or a pipe may never end
            raise ImageError(f"{path.name!r} is not a file.")
        if path.stat().st_size > max_bytes:
            raise _too_large(max_bytes)
        with path.open("rb") as file:
            return file.read(max_bytes + 1)  # the file may have grown since
    except (OSError, ValueError) as error:
        raise ImageError(f"The file {path.name!r} cannot be read: {reason(error)}.") from error


def _too_large(max_bytes: int) -> ImageTooLargeError:
    limit = f"{max_bytes / 2**20:g} MiB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return ImageTooLargeError(f"The file is larger than the limit of {limit}.")


def _decode(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """Return upright RGB pixels, the claims of the metadata, and whether pixels are missing."""
    with _refusals(name, data):
        if name == "JPEG":
            image, lost = _decode_jpeg(data, max_pixels)
        elif name == "PNG":
            image, lost = _decode_png(data, max_pixels)
        else:
            image, lost = _open(data, name, max_pixels), 0.0
        pixels = upright_rgb(image)
        _check_pixels(pixels.size, max_pixels)  # a HEIC may differ from its announced size
        return pixels, {**_claims(image), "damaged": lost > 0}


def _open(data: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open an image without reading its pixels."""
    if name == "WEBP" and (size := webp_size(data)):
        _check_pixels(size, max_pixels)
    if name == "TIFF" and data[2:4] in (b"*\0", b"\0*", b"+\0"):
        check_tags(data)
    image = _READERS[name](io.BytesIO(data))
    _check_pixels(image.size, max_pixels)
    check_whole(data, name)
    _prepare(image, len(data))
    return image


def _decode_jpeg(data: bytes, max_pixels: int) -> tuple[Image.Image, float]:
    """Decode a JPEG; Pillow decodes stored CMYK, since it knows what each program means by it."""
    check_scans(data)
    if not (size := jpeg_size(data)):
        return _open(data, "JPEG", max_pixels), 0.0
    _check_pixels(size, max_pixels)
    samples, mode, lost = decode_jpeg(data)
    described = _described_jpeg(data + b"\xff\xd9")
    if mode == "CMYK" and described is not None:
        return described, lost
    height, width, _ = samples.shape
    image = Image.frombuffer(mode, (width, height), samples, "raw", mode, 0, 1)
    if described is not None:
        image.info, image._exif = described.info, described.getexif()
    return image, lost


def _described_jpeg(data: bytes) -> JpegImageFile | None:
    """Pillow's view of the metadata, of EXIF alone where others are damaged."""
    for texts in (frozenset(), TEXTS - {EXIF, ADOBE}, TEXTS - {EXIF}):
        try:
            return JpegImageFile(io.BytesIO(jpeg_without_texts(data, texts)))
        except Exception:  # damaged metadata say nothing about the pixels
            continue
    return None


def _decode_png(data: bytes, max_pixels: int) -> tuple[Image.Image, float]:
    data, lost = reduced_png(data), 0.0
    _check_pixels(png_size(data), max_pixels)
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
    if image.info.get("default_image"):  # it is shown where animations are not
        image.seek(1)
        check_first_frame(data)
    return image, lost


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"The image has {width} × {height} pixels, more than the limit of {max_pixels:,}."
        )


@contextmanager
def _refusals(name: str, data: bytes | None = None) -> Iterator[None]:
    """Turn every exception of a decoder into an ImageError: hostile bytes raise all kinds."""
    # The flag is process-wide: another library may have set it, and Pillow would invent pixels.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    except D3Error:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError("The image has more pixels than can be decoded safely.") from error
    except MemoryError as error:
        raise ImageError(f"This {name} file needs too much memory to be decoded.") from error
    except Exception as error:
        if data is not None:
            check_whole(data, name)
        text = str(error).lower()
        missing = "truncated" in text or "not enough image data" in text
        raise (truncated(name) if missing else undecodable(name)) from error


def _prepare(image: ImageFile.ImageFile, size_bytes: int) -> None:
    """Make corrections that are possible only between the header and the pixels."""
    if isinstance(image, PngImageFile) and "transparency" in image.info and image.tile:
        to_8_bit = _PNG_KEY_TO_8_BIT.get(image.tile[0].args)
        if to_8_bit:
            image.info["transparency"] = to_8_bit(image.info["transparency"])
    if isinstance(image, TiffImageFile) and image.tag_v2.get(Base.Compression, 1) != 1:
        _check_strips(image, size_bytes)
    if isinstance(image, TiffImageFile):
        _prepare_tiff(image)
    if isinstance(image, GifImageFile):
        _fill_canvas(image)
    if isinstance(image, BmpImageFile) and image.mode == "RGBA":
        image.load()
        if image.getextrema()[3] == (0, 0):  # the fourth byte is unused, as in many BMPs
            image.putalpha(255)


def _prepare_tiff(image: TiffImageFile) -> None:
    tags = image.tag_v2
    planes = tags.get(Base.SamplesPerPixel, 1) if tags.get(Base.PlanarConfiguration) == 2 else 1
    depth = max(tags.get(Base.BitsPerSample, (1,)))
    if planes > 1 and depth > 8 and tags.get(Base.Compression, 1) == 1:  # Pillow mixes the planes
        raise undecodable("TIFF")
    colours = tags.get(Base.ColorMap, ())
    if image.mode == "P" and colours and max(colours) < 256:  # 8 bits, where 16 are asked for
        image.load()
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
        image.im.putpalette("RGB", "RGB;L", bytes(colours))


def _fill_canvas(image: GifImageFile) -> None:
    """Browsers leave what the first frame does not cover transparent."""
    covered = image.tile[0].extents if image.tile else None
    image.load()
    if covered and tuple(covered) != (0, 0, *image.size):
        mask = Image.new("L", image.size)
        mask.paste(255, tuple(covered))
        shown = Image.composite(image.convert("RGBA"), Image.new("RGBA", image.size), mask)
        image.im, image._mode, image.info = shown.im, "RGBA", {}


def _check_strips(image: TiffImageFile, size_bytes: int) -> None:
    """Refuse a cut strip: fax and JPEG decoders inside a TIFF fill it silently."""
    for offset_tag, count_tag in _TIFF_PIECES:
        offsets, counts = (image.tag_v2.get(tag, ()) for tag in (offset_tag, count_tag))
        if any(start + count > size_bytes for start, count in zip(offsets, counts, strict=False)):
            raise truncated("TIFF")


def _claims(image: Image.Image) -> dict[str, str]:
    """Return camera and software of EXIF, or the software of a PNG; both are easily forged."""
    try:
        exif = image.getexif()
        make, model = _plain(exif.get(Base.Make)), _plain(exif.get(Base.Model))
        software = _plain(exif.get(Base.Software) or image.info.get("Software"))
    except Exception:  # damaged metadata
        return {}
    camera = model if model.startswith(make) else f"{make} {model}"
    return {"camera": camera[:MAX_CLAIM].strip(), "software": software[:MAX_CLAIM].strip()}


def _plain(text: object) -> str:
    """Keep printable characters only; cameras pad their names with zeros and spaces."""
    printable = (c if c.isprintable() else " " for c in text) if isinstance(text, str) else ()
    return " ".join("".join(printable).split())


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:  # damaged metadata do not matter to the pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_in_8_bits(image).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode == "La":  # a direct conversion would forget the alpha
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")


def _grey_in_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits (modes I;16, I;16B, I) or floats in 0..1 (mode F); never clip."""
    samples = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        white = 1.0
    elif image.mode == "I":
        white = _WHITE_16_BIT
    else:
        white = 2 ** max(tags.get(Base.BitsPerSample, (16,))) - 1
    if not (samples.min() >= 0 and samples.max() <= white):  # also false for NaN
        raise ImageError(
            "The image has samples outside the range of 16-bit integers or of floats from 0 to 1, "
            "so its brightness is undefined."
        )
    grey = np.rint(np.multiply(samples, 255 / white, dtype=np.float32)).astype(np.uint8)
    if tags.get(Base.PhotometricInterpretation) == 0:  # white is zero
        grey = 255 - grey
    if isinstance(key := image.info.get("transparency"), int):
        grey[samples == key] = 255
    return Image.fromarray(grey)
