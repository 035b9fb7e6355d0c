"""Refuse files that are an image and something else at the same time."""

from __future__ import annotations

import re
import struct

from ..errors import PolyglotImageError

# Other programs would run or unpack these. They are long enough to be rare among pixels.
_MARKUP = re.compile(rb"<(?:(?:script|html|iframe)[\s>/]|!doctype\s+html|\?php\s)", re.IGNORECASE)
_PDF = b"%PDF-"
_PDF_END = re.compile(rb"startxref|trailer")
_PDF_REACH = 1024  # bytes in which readers look for the header of a PDF
_ARCHIVES = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")


def check_single(data: bytes, without_texts: bytes) -> None:
    """Raise PolyglotImageError if another program would run or unpack the file.

    A picture may have a trailer: phones append films and depth maps to photographs. The texts of
    its metadata may hold markup, since generators store prompts there: ``without_texts`` is the
    file without them.
    """
    if _MARKUP.search(without_texts):
        raise _polyglot("a web page or a script")
    if _PDF in data[:_PDF_REACH] and _PDF_END.search(data):
        raise _polyglot("a PDF document")
    if any(signature in data for signature in _ARCHIVES) or _is_zip(data):
        raise _polyglot("an archive")


def _polyglot(what: str) -> PolyglotImageError:
    return PolyglotImageError(f"This file is an image and {what} at the same time.")


def _is_zip(data: bytes) -> bool:
    """Return whether the file ends as a ZIP archive; any bytes may precede an archive.

    The end record (APPNOTE.TXT 4.3.16) must reach to the last byte and lie behind its directory.
    """
    end = data.rfind(b"PK\x05\x06", -(2**16 + 22))
    if end < 0 or len(data) < end + 22:
        return False
    size, _, comment = struct.unpack_from("<IIH", data, end + 12)
    if end + 22 + comment != len(data):
        return False
    return size == 0 or (size <= end and data.startswith(b"PK\x01\x02", end - size))
