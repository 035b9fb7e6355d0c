"""Decode bytes, a file or a PIL image to upright 8-bit RGB pixels, or raise an ImageError.

Colour profiles are ignored on purpose: detectors are trained on stored values, and a conversion
would blur the traces that a detector looks for. Transparency is composited on white.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

from ..errors import D3Error, EmptyImageError, ImageError, ImageTooLargeError, TooManyPixelsError
from ..files import reason
from .colours import to_rgb
from .formats import image_format
from .frames import count_frames
from .jpeg import jpeg_without_texts
from .metadata import claims_of
from .opening import check_pixels, first_frame, open_frames, open_image
from .orientation import turn_of
from .png import png_without_texts
from .polyglots import check_single
from .wholeness import check_whole, truncated, undecodable

_WITHOUT_TEXTS = {"JPEG": jpeg_without_texts, "PNG": png_without_texts}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest numbers of bytes and of pixels (width × height) of an image that is decoded."""

    max_bytes: int = 25 * 2**20
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Upright RGB ``pixels`` and facts of the file.

    ``width`` and ``height`` are those of ``pixels``, ``size_bytes`` and ``sha256`` (hex) those of
    the original bytes. ``camera`` and ``software`` are claims of the metadata, at most 100
    characters each, or empty. A ``damaged`` file lacks up to 1 % of the pixels. ``frames`` is the
    number of frames of an animation (GIF, WebP, AVIF, PNG), or of pages of a TIFF.
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
    frames: int = 1


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


def decode_frame(
    source: bytes | str | Path, number: int, limits: ImageLimits = DEFAULT_LIMITS
) -> Image.Image:
    """Return the upright RGB pixels of one frame or page; ``decode_image`` returns number 1.

    Raises the errors of ``decode_frames``.
    """
    if number == 1:
        return decode_image(source, limits).pixels
    [pixels] = decode_frames(source, [number], limits)
    return pixels


def decode_frames(
    source: bytes | str | Path, numbers: Sequence[int], limits: ImageLimits = DEFAULT_LIMITS
) -> Iterator[Image.Image]:
    """Yield the upright RGB pixels of frames of an animation or pages of a TIFF, one at a time.

    ``numbers`` ascend from 1. All frames up to the last of them are decoded, since frames build on
    earlier ones; of a TIFF only these pages are. Raises TooManyPixelsError if the decoded frames
    together have more pixels than four images may have, and the errors of ``decode_image``.
    """
    data = _read(source, limits.max_bytes)
    name = image_format(data)
    with _refusals(name, data):
        for image in open_frames(data, name, numbers, limits.max_pixels):
            pixels = upright_rgb(image)
            check_pixels(pixels.size, limits.max_pixels)
            yield pixels


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
        rgb = to_rgb(image)
        if (turn := turn_of(image)) is not None:  # FLIP_LEFT_RIGHT is 0
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
    """Return upright RGB pixels, and facts of the file: claims, losses, frames."""
    with _refusals(name, data):
        image, lost = open_image(data, name, max_pixels)
        pixels = upright_rgb(first_frame(image))
        check_pixels(pixels.size, max_pixels)  # a HEIC may differ from its announced size
        frames = count_frames(data, name, image)
        return pixels, {**claims_of(image), "damaged": lost > 0, "frames": frames}


@contextmanager
def _refusals(name: str, data: bytes | None = None) -> Iterator[None]:
    """Turn every exception of a decoder into an ImageError: hostile bytes raise any of them."""
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
