"""A WebP whose coded pixels were overwritten is refused."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, _avif, _webp

from detection.d3.errors import ImageError
from detection.d3.images.decoding import decode_image
from tests.support.image_files import decoded, encoded, sample_photograph

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_webp_whose_coded_pixels_were_overwritten_is_refused(place):
    data = encoded(sample_photograph(), "WEBP")
    start = int(len(data) * place)
    for overwritten in (bytes(200), random.Random(1).randbytes(200)):
        with pytest.raises(ImageError):
            decode_image(data[:start] + overwritten + data[start + 200 :])


@pytest.mark.parametrize("library", [_avif.__file__, "absent"])
def test_where_libwebp_cannot_be_called_a_webp_is_judged(library, monkeypatch):
    monkeypatch.setattr(_webp, "__file__", library)
    data = encoded(sample_photograph(), "WEBP")
    start = len(data) * 9 // 10
    changed = data[:start] + bytes(200) + data[start + 200 :]
    assert decode_image(changed).width == decode_image(data).width


@pytest.mark.parametrize(
    "options",
    [{"quality": 1}, {"quality": 100}, {"lossless": True}, {"exact": True}, {"exif": b"Exif\0\0?"}],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_pixels_of_a_webp_are_those_that_pillow_gives(options, mode):
    image = sample_photograph(481, 271).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, "WEBP", **options)
    with Image.open(io.BytesIO(data)) as opened:
        white = Image.new("RGBA", opened.size, "white")
        shown = Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")
    assert (decoded(data) == np.asarray(shown)).all()
