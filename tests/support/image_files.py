"""Image files of every type, and of the variants that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from detection.d3.images import decode_image
from detection.d3.images.formats import FORMAT_NAMES

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)

PHOTOGRAPH = Path(__file__).parents[2] / "samples" / "photo-roman-colosseum.jpg"


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Return smooth colours, different in each corner, so that a rotation shows after any codec."""
    corners = np.array([[[230, 20, 20], [20, 200, 20]], [[20, 20, 220], [240, 240, 60]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def sample_photograph(width: int = 480, height: int = 270) -> Image.Image:
    with Image.open(PHOTOGRAPH) as image:
        return image.convert("RGB").resize((width, height))


def photograph(**options) -> bytes:
    """Return the sample photograph as a JPEG."""
    return encoded(sample_photograph(), "JPEG", quality=85, **options)


def zeroed(data: bytes, start: float, end: float) -> bytes:
    """Return the data with zeros between two positions, each a share of the length."""
    first, last = (int(len(data) * share) for share in (start, end))
    return data[:first] + bytes(last - first) + data[last:]


def encoded(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    if name == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, quality=90, **options)
    else:
        image.save(buffer, name, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data).pixels).astype(int)


def close(left, right, tolerance: int = 12) -> bool:
    return np.abs(np.asarray(left).astype(int) - np.asarray(right).astype(int)).mean() < tolerance


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple) -> bytes:
    """Return a PNG of a depth that Pillow does not write; ``rows`` have their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def tiff_grey(samples: np.ndarray, bits: int, photometric: int) -> bytes:
    """Return a little-endian TIFF of one strip, for variants that Pillow does not write."""
    height, width = samples.shape
    body = samples.tobytes() if bits == 16 else _packed_12_bit(samples)
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height}
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries |= {273: start, 279: len(body)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\0" * 4 + body


def _packed_12_bit(samples: np.ndarray) -> bytes:
    """Pack two samples into three bytes; the width must be even."""
    first, second = samples.ravel()[::2].astype(int), samples.ravel()[1::2].astype(int)
    triple = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    return triple.astype(np.uint8).tobytes()


SAMPLES = {name: encoded(picture(), name) for name in FORMAT_NAMES} | {
    "progressive JPEG": encoded(picture(), "JPEG", progressive=True),
    "lossless WEBP": encoded(picture(), "WEBP", lossless=True),
    "LZW TIFF": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "fax TIFF": encoded(picture().convert("1"), "TIFF", compression="group4"),
    "animated GIF": encoded(
        picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48))]
    ),
}
# Pillow warns about odd metadata; these tests are about the refusal.
noisy = pytest.mark.filterwarnings("ignore::UserWarning")
each_sample = pytest.mark.parametrize("sample", SAMPLES)


def animated(name: str, frames: list[Image.Image], **options) -> bytes:
    """Return an animation, or a TIFF of several pages."""
    return encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)


def coloured_frames(count: int) -> list[Image.Image]:
    """Return frames of one colour each; each frame has another colour."""
    return [Image.new("RGB", (64, 48), colour_of(number)) for number in range(1, count + 1)]


def colour_of(number: int) -> tuple[int, int, int]:
    return (number * 37 % 256, number * 91 % 256, 200)
