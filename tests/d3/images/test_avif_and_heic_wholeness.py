"""AVIF and HEIC files whose coded pixels were overwritten are refused."""

from __future__ import annotations

import pytest

from detection.d3.errors import DamagedImageError
from detection.d3.images.decoding import decode_image
from tests.support.image_files import encoded, picture, sample_photograph, zeroed

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_coded_pixels_that_were_zeroed_are_refused(name):
    data = encoded(sample_photograph(), name)
    assert decode_image(data)
    with pytest.raises(DamagedImageError):
        decode_image(zeroed(data, 0.5, 1.0))


@pytest.mark.parametrize("name", ["AVIF", "HEIC"])
def test_a_byte_behind_the_last_box_is_no_loss(name):
    assert decode_image(encoded(picture(), name) + b"\n")
