"""A trailer that a camera appends to a picture is no loss."""

from __future__ import annotations

import numpy as np
import pytest

from detection.d3.images.decoding import decode_image
from tests.support.image_files import decoded, encoded, picture
from tests.support.trailers import TRAILERS, trailer

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize("kind", TRAILERS)
@pytest.mark.parametrize("name", ["AVIF", "HEIC", "WEBP", "PNG"])
def test_a_trailer_of_a_camera_behind_other_types_is_no_loss(kind, name):
    data = encoded(picture(), name)
    image = decode_image(data + trailer(kind))
    assert (np.asarray(image.pixels) == decoded(data)).all()
