"""TIFFs as tifffile writes them: each is decoded to the pixels that tifffile reads, or refused."""

from __future__ import annotations

import io
import struct
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image

from detection.d3.errors import ImageError
from detection.d3.images import decode_image
from tests.support.image_files import close, decoded, encoded, picture

pytestmark = pytest.mark.stateless

SIZE = (70, 50)  # no multiple of a tile
COLOUR, GREY = (np.asarray(picture(*SIZE).convert(mode)) for mode in ("RGB", "L"))
INKS = np.asarray(picture(*SIZE).convert("CMYK"))
ALPHA = np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))
INDEXED = picture(*SIZE).quantize(256)
PALETTE = np.array(INDEXED.getpalette(), np.uint16).reshape(-1, 3).T * 257
PREMULTIPLIED = np.rint(COLOUR * (ALPHA[..., None] / 255)).astype(np.uint8)


def wide(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.uint16) * 257


# Samples, photometric interpretation, and the meaning of a further sample.
KINDS = {
    "grey": (GREY, "minisblack", None),
    "grey, white is zero": (GREY, "miniswhite", None),
    "16-bit grey": (wide(GREY), "minisblack", None),
    "16-bit grey, white is zero": (wide(GREY), "miniswhite", None),
    "32-bit grey": (wide(GREY).astype(np.uint32) * 65537, "minisblack", None),
    "signed grey": ((GREY // 2).astype(np.int8), "minisblack", None),
    "signed 16-bit grey": ((wide(GREY) // 2).astype(np.int16), "minisblack", None),
    "floats": ((GREY / 255).astype(np.float32), "minisblack", None),
    "half floats": ((GREY / 255).astype(np.float16), "minisblack", None),
    "colour of floats": ((COLOUR / 255).astype(np.float32), "rgb", None),
    "grey with alpha": (np.dstack([GREY, ALPHA]), "minisblack", "unassalpha"),
    "three greys": (COLOUR, "minisblack", None),
    "colour": (COLOUR, "rgb", None),
    "16-bit colour": (wide(COLOUR), "rgb", None),
    "colour with alpha": (np.dstack([COLOUR, ALPHA]), "rgb", "unassalpha"),
    "16-bit colour with alpha": (wide(np.dstack([COLOUR, ALPHA])), "rgb", "unassalpha"),
    "premultiplied colour": (np.dstack([PREMULTIPLIED, ALPHA]), "rgb", "assocalpha"),
    "colour with something": (np.dstack([COLOUR, ALPHA]), "rgb", "unspecified"),
    "inks": (INKS, "separated", None),
    "16-bit inks": (wide(INKS), "separated", None),
    "inks with alpha": (np.dstack([INKS, ALPHA]), "separated", "unassalpha"),
    "palette": (np.asarray(INDEXED), "palette", None),
}
LAYOUTS = [
    {},
    {"byteorder": ">", "tile": (16, 32)},
    {"compression": "lzw", "byteorder": ">"},
    {"bigtiff": True},
    {"compression": "lzw", "predictor": 2, "tile": (16, 32)},
    {"compression": "zlib", "predictor": 2, "byteorder": ">"},
    {"compression": "packbits", "tile": (16, 32)},
    {"compression": "zstd"},
]
NEVER_READ = {
    "32-bit grey",
    "signed grey",
    "signed 16-bit grey",
    "half floats",
    "colour of floats",
    "three greys",
    "inks with alpha",
}
VARIANTS = [
    (kind, layout, planar)
    for kind, layout in product(KINDS, LAYOUTS)
    for planar in (["contig", "separate"] if KINDS[kind][0].ndim == 3 else ["contig"])
]


def written(kind: str, layout: dict, planar: str) -> bytes:
    samples, photometric, extra = KINDS[kind]
    options = layout | ({"colormap": PALETTE} if photometric == "palette" else {})
    if samples.dtype.kind == "f" and "predictor" in options:
        options["predictor"] = 3
    if samples.ndim == 3:
        options["planarconfig"] = planar
    if planar == "separate":
        samples = np.moveaxis(samples, 2, 0)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        samples,
        photometric=photometric,
        extrasamples=[extra] if extra else None,
        rowsperstrip=None if "tile" in layout else 16,
        **options,
    )
    return stream.getvalue()


def seen(data: bytes, kind: str, planar: str) -> np.ndarray:
    """Return the picture on white in levels of 0 to 255, by the samples that tifffile reads."""
    _, photometric, extra = KINDS[kind]
    samples = tifffile.imread(io.BytesIO(data))
    if photometric == "palette":
        return PALETTE.T[samples] / 257
    white = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
    levels = samples * (255 / white)
    levels = np.moveaxis(levels, 0, 2) if planar == "separate" else levels
    levels = levels[..., None] if levels.ndim == 2 else levels
    colours, further = (levels[..., :-1], levels[..., -1:]) if extra else (levels, None)
    if photometric == "miniswhite":
        colours = 255 - colours
    if photometric == "separated":
        colours = (255 - colours[..., :3]) * (255 - colours[..., 3:]) / 255
    if extra == "unassalpha":
        colours = colours * further / 255
    if extra in ("unassalpha", "assocalpha"):
        colours = colours + 255 - further
    return np.broadcast_to(colours, (*colours.shape[:2], 3))


def test_there_are_at_least_80_variants():
    assert len(VARIANTS) >= 80


@pytest.mark.parametrize(("kind", "layout", "planar"), VARIANTS)
def test_a_tiff_is_decoded_as_tifffile_reads_it_or_refused(kind, layout, planar):
    data = written(kind, layout, planar)
    try:
        pixels = np.asarray(decode_image(data).pixels)
    except ImageError:
        assert kind in NEVER_READ or not is_common(kind, layout, planar)
    else:
        assert np.abs(pixels - seen(data, kind, planar)).max() <= 1.01


def is_common(kind: str, layout: dict, planar: str) -> bool:
    """Return whether Pillow can read a variant; the conditions are its known gaps."""
    samples, photometric, extra = KINDS[kind]
    is_wide, is_compressed = samples.dtype.itemsize > 1, "compression" in layout
    if planar == "separate" and photometric == "minisblack":
        return False
    if planar == "separate" and not is_compressed:
        return not is_wide and extra in (None, "unassalpha")
    if layout.get("byteorder") == ">" and is_wide:
        return photometric != "miniswhite" and not (kind == "floats" and is_compressed)
    return True


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


def test_a_single_plane_of_floats_is_judged():
    grey = Image.fromarray(np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64))
    planar = encoded(grey, "TIFF", tiffinfo={284: 2})
    assert (decoded(planar) == decoded(encoded(grey, "TIFF"))).all()
