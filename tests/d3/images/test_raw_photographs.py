"""Raw photographs are recognised and refused."""

from __future__ import annotations

import pytest

from detection.d3.errors import RawPhotographError
from detection.d3.images.decoding import decode_image
from detection.d3.images.formats import image_format
from tests.support.image_files import encoded, picture

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize(
    "head",
    [
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x18\0\0\0",
        b"II*\0\x10\0\0\0CR\2\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    ],
    ids=["RAF", "ORF", "RW2", "CR2", "CR3"],
)
def test_raw_photographs_are_recognised_by_their_first_bytes(head):
    with pytest.raises(RawPhotographError, match="export it as a JPEG"):
        image_format(head.ljust(100, b"\0"))


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {262: 32803}, {254: 1, 330: 8}])
@pytest.mark.parametrize("big", [False, True])
def test_a_thumbnail_of_a_raw_photograph_is_not_judged(tags, big):
    with pytest.raises(RawPhotographError):
        decode_image(encoded(picture(), "TIFF", tiffinfo=tags, big_tiff=big))
