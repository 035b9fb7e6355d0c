"""Recognise raw photographs: values of a sensor with a thumbnail, which are not to be judged."""

from __future__ import annotations

import io

from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import RawPhotographError

# Of Fujifilm, Olympus and Panasonic; ``check_signature`` has Canon's
_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_SENSOR = {32803, 34892}  # colour filter array, linear raw


def check_signature(head: bytes) -> None:
    """Raise RawPhotographError for the first bytes of a raw photograph."""
    is_canons = (head[:4] == b"II*\0" and head[8:10] == b"CR") or head[4:12] == b"ftypcrx "
    if is_canons or head.startswith(_SIGNATURES):
        raise _raw_photograph()


def check_tags(data: bytes) -> None:
    """Raise RawPhotographError for a TIFF whose picture is a thumbnail of raw samples."""
    file, tags = io.BytesIO(data), ImageFileDirectory_v2(data[:16] if data[2] == 43 else data[:8])
    file.seek(tags.next)
    tags.load(file)
    is_reduced = bool(tags.get(Base.NewSubfileType, 0) & 1) and Base.SubIFDs in tags
    if Base.DNGVersion in tags or is_reduced or tags.get(Base.PhotometricInterpretation) in _SENSOR:
        raise _raw_photograph()


def _raw_photograph() -> RawPhotographError:
    return RawPhotographError("This file is a raw photograph; export it as a JPEG and send that.")
