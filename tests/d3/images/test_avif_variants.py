"""AVIF files that deviate from the standard: those that Chromium shows are judged."""

from __future__ import annotations

import base64
import struct

import numpy as np
import pytest
from PIL import Image

from detection.d3.errors import ImageError
from detection.d3.images import decode_image
from tests.support.browser import opened_page
from tests.support.image_files import close, encoded, picture

pytestmark = pytest.mark.stateless

PLAIN = encoded(picture(), "AVIF", quality=90)
SIDES = struct.pack(">II", 64, 48)
DEPTHS = b"pixi\0\0\0\0\3\x08\x08\x08"
SHOW = """async link => {
  const image = new Image();
  image.src = link;
  try { await image.decode() } catch { return [] }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.width, canvas.height, ...pixels];
}"""


def with_alpha() -> bytes:
    image = picture()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encoded(image, "AVIF")


def configured(byte: int, flipped: int) -> bytes:
    """Return the picture with changed bits of the codec's configuration."""
    data = bytearray(PLAIN)
    data[data.index(b"av1C") + 4 + byte] ^= flipped
    return bytes(data)


def with_property(kind: bytes, body: bytes, *, essential: bool = False) -> bytes:
    """Return the picture with a further property, in place of its bits per channel."""
    data, box = bytearray(PLAIN), struct.pack(">I4s", 8 + len(body), kind) + body
    properties = data.index(b"ipco") - 4
    end = properties + struct.unpack_from(">I", data, properties)[0]
    data[data.index(b"ipma") + 16] = 0x80 * essential | 5  # Pillow writes four
    coded = struct.pack(">I", data.index(b"mdat") + 4)
    offset = data.index(coded, data.index(b"iloc"))
    data[offset : offset + 4] = struct.pack(">I", data.index(b"mdat") + 4 + len(box))
    data[end:end] = box
    for name in (b"ipco", b"iprp", b"meta"):
        start = data.index(name) - 4
        (size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, size + len(box))
    return bytes(data)


def crop(*numbers: int) -> bytes:
    return with_property(b"clap", struct.pack(">8i", *numbers), essential=True)


VARIANTS = {
    "plain": PLAIN,
    "alpha": with_alpha(),
    "alpha without bits per channel": with_alpha().replace(b"pixi", b"free"),
    "alpha without a size": with_alpha().replace(b"\0\2\4\1\5\x86\7", b"\0\2\4\0\5\x86\7"),
    "alpha of no kind": with_alpha().replace(b"auxC", b"free"),
    "alpha of another kind": with_alpha().replace(b"auxiliary:alpha", b"auxiliary:depth"),
    "no bits per channel": PLAIN.replace(b"pixi", b"free"),
    "bits of one channel": PLAIN.replace(DEPTHS, b"pixi\0\0\0\0\1\x08\x08\x08"),
    "wrong bits per channel": PLAIN.replace(DEPTHS, b"pixi\0\0\0\0\3\x0a\x0a\x0a"),
    "another size": PLAIN.replace(SIDES, struct.pack(">II", 60, 48)),
    "no size": PLAIN.replace(b"ispe", b"free"),
    "size of zero": PLAIN.replace(SIDES, bytes(8)),
    "no colours": PLAIN.replace(b"colr", b"free"),
    "unknown colours": PLAIN.replace(b"colrnclx", b"colrzzzz"),
    "mif1 first": PLAIN[:8] + b"mif1" + PLAIN[12:],
    "unknown brand first": PLAIN[:8] + b"zzzz" + PLAIN[12:],
    "no miaf": PLAIN.replace(b"miaf", b"zzzz"),
    "a film's handler": PLAIN.replace(b"pict", b"vide"),
    "pixels up to the end": PLAIN.replace(
        struct.pack(">I", len(PLAIN) - 267) + b"mdat", b"\0\0\0\0mdat"
    ),
    "a byte behind": PLAIN + b"\n",
    "words behind": PLAIN + b"words behind the end",
    "another profile": configured(1, 0x20),
    "another version of the configuration": configured(0, 0x80),
    "crop of all": crop(64, 1, 48, 1, 0, 1, 0, 1),
    "crop": crop(32, 1, 24, 1, 0, 1, 0, 1),
    "crop of odd sides": crop(31, 1, 23, 1, 0, 1, 0, 1),
    "crop of fractions": crop(63, 2, 47, 2, 0, 1, 0, 1),
    "crop by zero": crop(32, 0, 24, 0, 0, 0, 0, 0),
    "crop outside": crop(32, 1, 24, 1, 100, 1, 0, 1),
    "crop of more": crop(640, 1, 480, 1, 0, 1, 0, 1),
    "turned": with_property(b"irot", b"\1", essential=True),
    "turned, not essential": with_property(b"irot", b"\1"),
    "mirrored": with_property(b"imir", b"\1", essential=True),
    "wide pixels": with_property(b"pasp", struct.pack(">II", 2, 1)),
    "brightness": with_property(b"clli", struct.pack(">HH", 1000, 400)),
    "layers": with_property(b"a1lx", struct.pack(">B3H", 0, 5, 0, 0)),
    "one layer": with_property(b"lsel", b"\0\0", essential=True),
    "an unknown property": with_property(b"zzzz", bytes(4)),
    "an essential unknown property": with_property(b"zzzz", bytes(4), essential=True),
}


@pytest.fixture(scope="module")
def shown() -> dict[str, list[int]]:
    """Width, height and samples of red, green, blue and alpha, or nothing, by variant."""
    with opened_page() as page:
        return {
            name: page.evaluate(SHOW, f"data:image/avif;base64,{base64.b64encode(data).decode()}")
            for name, data in VARIANTS.items()
        }


@pytest.mark.parametrize("name", VARIANTS)
def test_files_that_chromium_shows_are_judged(name, shown):
    if not shown[name]:
        with pytest.raises(ImageError, match="of a variant that cannot be decoded"):
            decode_image(VARIANTS[name])
        return
    width, height, *samples = shown[name]
    pixels = decode_image(VARIANTS[name]).pixels
    assert pixels.size == (width, height)
    assert close(pixels, np.array(samples).reshape(height, width, 4)[..., :3], 6)


def test_chromium_shows_most_variants(shown):
    assert sum(map(bool, shown.values())) > 30
