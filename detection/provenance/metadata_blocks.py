"""Find the metadata in files of pictures, in bounded amounts and without decoding a pixel."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from PIL.AvifImagePlugin import AvifImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from pillow_heif import HeifImageFile

MAX_TEXT = 2**18  # bytes of one text or packet; a longer one is cut
MAX_TEXTS = 64
MAX_EXIF = 2**16
MAX_TAGS = 512  # of a TIFF; photographs have about thirty
# Type of the box with which every C2PA manifest begins, and the start of its identifier
_MANIFEST_START = b"jumdc2pa"
_XMP_KEY = "XML:com.adobe.xmp"
_EXIF_START, _XMP_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP_START, _IPTC_RESOURCE = b"Photoshop 3.0\0", 0x0404
_TIFF_XMP, _TIFF_IPTC, _TIFF_MANIFEST = 700, 33723, 0xCD41
_TIFF_TEXTS = {tag.value: tag.name for tag in (Base.ImageDescription, Base.Software, Base.Artist)}
_TIFF_SIZES = {3: 2, 4: 4}  # bytes of a value by type; values of other types have one byte


@dataclass(frozen=True, slots=True)
class Text:
    """A text with its key and its place in the file."""

    place: str
    key: str
    value: str


@dataclass(slots=True)
class Blocks:
    """Metadata as they are in the file, before they are parsed.

    ``has_manifest`` is true for a C2PA manifest, or for bytes that look like one.
    """

    has_manifest: bool = False
    texts: list[Text] = field(default_factory=list)
    xmp: bytes = b""
    exif: bytes = b""
    iptc: bytes = b""

    def add(self, place: str, key: str, value: bytes | str) -> None:
        if len(self.texts) < MAX_TEXTS:
            text = value if isinstance(value, str) else _decoded(value[:MAX_TEXT])
            self.texts.append(Text(place, key, text[:MAX_TEXT]))


def read_blocks(data: bytes, blocks: Blocks) -> None:
    """Add the metadata of a file to ``blocks``.

    Raises all kinds of errors for damaged files; what was added before stays in ``blocks``.
    """
    for is_of_type, read in _READERS:
        if is_of_type(data):
            read(data, blocks)
            return


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _read_jpeg(data: bytes, blocks: Blocks) -> None:
    for code, body in _jpeg_segments(data):
        if code == 0xFE:
            blocks.add("JPEG comment", "Comment", body)
        elif code == 0xE1 and body.startswith(_EXIF_START):
            blocks.exif = blocks.exif or body[len(_EXIF_START) :]
        elif code == 0xE1 and body.startswith(_XMP_START):
            blocks.xmp = blocks.xmp or body[len(_XMP_START) :]
        elif code == 0xEB and _MANIFEST_START in body:
            blocks.has_manifest = True
        elif code == 0xED and body.startswith(_PHOTOSHOP_START):
            blocks.iptc += _iptc_of(body[len(_PHOTOSHOP_START) :])


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        code, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if code == 0xFF:  # fill bytes
            position += 1
            continue
        if code in (0xDA, 0xD9) or length < 2:  # the pixels, or the end
            return
        yield code, data[position + 4 : position + 2 + length]
        position += 2 + length


def _iptc_of(resources: bytes) -> bytes:
    """Return the IPTC block among Photoshop's image resources."""
    position = 0
    while resources[position : position + 4] == b"8BIM" and position + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, position + 4)
        name = 1 + resources[position + 6]
        start = position + 6 + name + name % 2
        size = int.from_bytes(resources[start : start + 4], "big")
        if number == _IPTC_RESOURCE:
            return resources[start + 4 : start + 4 + size]
        position = start + 4 + size + size % 2
    return b""


def _read_png(data: bytes, blocks: Blocks) -> None:
    position, texts = 8, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + min(length, MAX_TEXT)]
        if kind == b"eXIf":
            blocks.exif = body
        elif kind == b"caBX":
            blocks.has_manifest = True
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and texts < MAX_TEXTS:
            texts += 1
            key, value = _png_text(kind, body)
            if key == _XMP_KEY:
                blocks.xmp = value
            else:
                blocks.add(f"PNG text {key[:79]!r}", key, value)
        position += 12 + length


def _png_text(kind: bytes, body: bytes) -> tuple[str, bytes]:
    key, _, value = body.partition(b"\0")
    if kind == b"zTXt":
        value = _inflated(value[1:])
    elif kind == b"iTXt":
        is_compressed, rest = value[:1] == b"\1", value[2:]
        value = rest.split(b"\0", 2)[-1]
        value = _inflated(value) if is_compressed else value
    return key.decode("latin-1"), value


def _inflated(value: bytes) -> bytes:
    return zlib.decompressobj().decompress(value, MAX_TEXT)


def _read_webp(data: bytes, blocks: Blocks) -> None:
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + min(size, MAX_TEXT)]
        if kind == b"EXIF":
            blocks.exif = body.removeprefix(_EXIF_START)
        elif kind == b"XMP ":
            blocks.xmp = body
        elif kind == b"C2PA":
            blocks.has_manifest = True
        position += 8 + size + size % 2


def _read_tiff(data: bytes, blocks: Blocks) -> None:
    """Read some tags of the first page. Pillow would copy the values of all tags."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for entry in range(min(count, MAX_TAGS)):
        at = start + 2 + 12 * entry
        tag, kind, number, place = struct.unpack_from(f"{order}HHII", data, at)
        size = number * _TIFF_SIZES.get(kind, 1)
        place = place if size > 4 else at + 8
        value = data[place : place + min(size, MAX_TEXT)]
        if tag == _TIFF_XMP:
            blocks.xmp = value
        elif tag == _TIFF_IPTC:
            blocks.iptc = value
        elif tag == _TIFF_MANIFEST:
            blocks.has_manifest = True
        elif name := _TIFF_TEXTS.get(tag):
            blocks.add(f"TIFF {name}", name, value.rstrip(b"\0"))


def _read_info(reader: type[ImageFile], data: bytes, blocks: Blocks) -> None:
    """Add the metadata that Pillow finds in the header."""
    blocks.has_manifest = _MANIFEST_START in data
    with reader(io.BytesIO(data)) as image:
        blocks.xmp = _as_bytes(image.info.get("xmp"))
        blocks.exif = _as_bytes(image.info.get("exif")).removeprefix(_EXIF_START)
        if comment := image.info.get("comment"):
            blocks.add("GIF comment", "Comment", comment)


def _as_bytes(value: object) -> bytes:
    return value[:MAX_TEXT] if isinstance(value, bytes) else b""


def _starts(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


def _has_brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[4:8] == b"ftyp" and any(brand in data[8:64] for brand in brands)


_READERS = (
    (_starts(b"\xff\xd8\xff"), _read_jpeg),
    (_starts(b"\x89PNG\r\n\x1a\n"), _read_png),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _read_webp),
    (_starts(b"II*\0", b"MM\0*"), _read_tiff),
    (_starts(b"GIF8"), partial(_read_info, GifImageFile)),
    (_has_brand(b"avif", b"avis"), partial(_read_info, AvifImageFile)),
    (_has_brand(b"hei", b"hev"), partial(_read_info, HeifImageFile)),
)
