"""A TIFF is refused if the data of a strip or a tile are wrong, by checksum or by length."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import tifffile

from detection.d3.errors import DamagedImageError, ImageError
from detection.d3.images.decoding import decode_image
from tests.support.image_files import decoded, encoded, sample_photograph

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"])
def test_a_tiff_whose_coded_pixels_were_overwritten_is_refused(compression, place):
    data = encoded(sample_photograph(), "TIFF", compression=compression)
    start = int(len(data) * place)
    with pytest.raises(ImageError):
        decode_image(data[:start] + random.Random(6).randbytes(200) + data[start + 200 :])


def test_a_wrong_bit_is_found_by_the_checksum():
    data = encoded(sample_photograph(), "TIFF", compression="tiff_adobe_deflate")
    changed = bytearray(data)
    changed[tifffile.TiffFile(io.BytesIO(data)).pages[0].dataoffsets[0] + 5000] ^= 1
    with pytest.raises(DamagedImageError):
        decode_image(bytes(changed))


def test_lzw_data_of_more_pixels_than_the_picture_has_are_damage():
    data = encoded(sample_photograph(), "TIFF", compression="tiff_lzw", strip_size=10**6)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        position = tiff.pages[0].tags["ImageLength"].valueoffset
    with pytest.raises(DamagedImageError):
        decode_image(data[:position] + (269).to_bytes(2, "little") + data[position + 2 :])


@pytest.mark.parametrize("compression", ["lzw", "zlib"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (64, 48)},
        {"predictor": True},
        {"planarconfig": "separate"},
        {"bigtiff": True},
        {"byteorder": ">"},
    ],
)
def test_other_variants_are_whole(options, compression):
    pixels = np.asarray(sample_photograph(241, 135))
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    data = io.BytesIO()
    tifffile.imwrite(data, stored, photometric="rgb", compression=compression, **options)
    assert (decoded(data.getvalue()) == pixels).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_other_modes_are_whole(mode, compression):
    image = sample_photograph(241, 135).convert(mode)
    assert not decode_image(encoded(image, "TIFF", compression=compression)).damaged


def test_nothing_is_written_about_whole_strips(capfd):
    decode_image(encoded(sample_photograph(), "TIFF", compression="tiff_lzw"))
    assert capfd.readouterr().err == ""
