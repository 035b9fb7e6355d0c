"""Read all parts of multipart forms.

Django drops a part whose head it cannot read, so its image would be missing without an error. Here
every head is read first, and replaced with one that Django can read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import BinaryIO
from urllib.parse import unquote, unquote_to_bytes

from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from detection.d3.errors import UnsupportedImageError
from detection.d3.images import image_format
from detection.files import extension
from detection.web.errors import IncompleteFormError, UnreadablePartError

MAX_HEAD_BYTES = 2**13
MAX_FIELD_NAME = 100
CHUNK = 2**16
SIGNATURE_BYTES = 2**10  # of a file, enough for its type
HEAD_END = b"\r\n\r\n"
# An unclosed quote reaches to the end of the line.
PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*(?:"|$)|[^;]*)', re.DOTALL)
BROWSERS_ESCAPE = re.compile("%22|%0D|%0A", re.IGNORECASE)  # all that browsers escape
ENCODED_WORD = re.compile(rb"(=\?[\w-]+\?[BbQq]\?[!->@-~]*\?=\s*)+")
FOLDED_LINE = re.compile(rb"\r\n[ \t]+")


class WholeForms(FileUploadHandler):
    """Parse the form in place of Django. ``handlers`` receive its files."""

    def __init__(self, request: HttpRequest, handlers: list[FileUploadHandler]) -> None:
        super().__init__(request)
        self._handlers = handlers

    def handle_raw_input(
        self,
        input_data: BinaryIO,
        META: dict[str, str],  # noqa: N803  Django's name
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict]:
        """Return the fields and files of the form. Raises UnreadablePartError, IncompleteFormError,
        and what Django raises.
        """
        body = ReadableBody(input_data, boundary)
        return _Parser(META, body, self._handlers, encoding).parse()


class _Parser(MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str:
        """Return the file's name. ``file_name`` is its number, from the replaced head."""
        sent, own = self._input_data.filenames[int(file_name)]
        return super().sanitize_file_name(" ".join(sent.split())) or own


class ReadableBody:
    """The body of a form, with heads that Django can read.

    In these heads the name of a file is its number. ``filenames`` has, for each number, the name
    that was sent, which may be empty, and a name to use if it is.
    """

    def __init__(self, body: BinaryIO, boundary: bytes) -> None:
        self.filenames: list[tuple[str, str]] = []
        self._body = body
        self._separator = b"--" + boundary
        self._buffer = b""
        self._parts = 0
        self._files: Counter[str] = Counter()  # by field
        self._pieces = self._replace_heads()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, whatever their number; none at the end."""
        return next(self._pieces, b"")

    def _replace_heads(self) -> Iterator[bytes]:
        overlap = len(self._separator) - 1
        self._check_start()
        while self._fill(overlap + 1):
            content, separator, rest = self._buffer.partition(self._separator)
            if not separator:
                yield self._buffer[:-overlap]
                self._buffer = self._buffer[-overlap:]
                continue
            self._buffer = rest
            self._fill(2)
            if self._buffer.startswith(b"--"):
                self._check_epilogue()
                yield content + separator + b"--"
                return
            yield content + separator + self._head()
        raise IncompleteFormError(
            f"The form ends in its part {self._parts}: the boundary behind it is missing."
        )

    def _check_start(self) -> None:
        """Raise UnreadablePartError where a part has no boundary before it, and IncompleteFormError
        where the body ends there.
        """
        self._fill(SIGNATURE_BYTES)
        start = self._buffer.lstrip()
        if start and self._separator.startswith(start):
            raise IncompleteFormError("The form ends in its first boundary.")
        if not start.startswith(self._separator):
            raise UnreadablePartError("The form does not begin with its boundary.")

    def _check_epilogue(self) -> None:
        """Raise UnreadablePartError where parts follow the boundary that ends the form."""
        while self._fill(len(self._separator)):
            if self._separator in self._buffer:
                raise UnreadablePartError("The form has parts behind its last boundary.")
            self._buffer = self._buffer[1 - len(self._separator) :]

    def _fill(self, size: int) -> bool:
        """Read until the buffer has ``size`` bytes. Return whether the body has as many."""
        while len(self._buffer) < size:
            chunk = self._body.read(CHUNK)
            if not chunk:
                return False
            self._buffer += chunk
        return True

    def _head(self) -> bytes:
        self._parts += 1
        self._fill(MAX_HEAD_BYTES + len(HEAD_END) + SIGNATURE_BYTES)
        start = self._buffer[: MAX_HEAD_BYTES + len(HEAD_END)]
        lines, end, _ = start.partition(HEAD_END)
        if self._separator in lines:
            raise UnreadablePartError(f"Part {self._parts} of the form has no complete head.")
        if not end and len(start) < MAX_HEAD_BYTES:
            raise IncompleteFormError(f"The form ends in the head of its part {self._parts}.")
        if not end:
            raise UnreadablePartError(
                f"The head of part {self._parts} of the form has more than 8 KiB."
            )
        head = Head.of(lines)
        if not head.field:
            name = f' ("{head.filename}")' if head.filename else ""
            raise UnreadablePartError(f"Part {self._parts} of the form{name} names no field.")
        self._buffer = self._buffer[len(lines) + len(end) :]
        name = head.field[:MAX_FIELD_NAME].replace("\\", "\\\\").replace('"', '\\"')
        written = f'\r\nContent-Disposition: form-data; name="{name}"'
        if self._is_file(head):
            written += f'; filename="{len(self.filenames)}"'
            self._files[head.field] += 1
            self.filenames.append((head.filename or "", self._own_name(head.field)))
        if head.is_base64:
            written += "\r\nContent-Transfer-Encoding: base64"
        written = written.encode() + HEAD_END
        if self._separator in written:
            raise UnreadablePartError(f"Part {self._parts} of the form names its boundary.")
        return written

    def _is_file(self, head: Head) -> bool:
        if head.filename == "":
            # Browsers send an empty name and no content if no file was chosen.
            return not self._buffer.startswith((b"\r\n" + self._separator, self._separator))
        return head.has_filename or head.content_type.startswith("image/")

    def _own_name(self, field: str) -> str:
        """Return for example ``unnamed-2.jpg`` if the second file of this field is a JPEG."""
        stem = f"unnamed-{self._files[field]}"
        try:
            found = image_format(self._buffer[:SIGNATURE_BYTES])
        except UnsupportedImageError:
            return stem
        return f"{stem}.{extension(found)}"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a part. ``filename`` is None where there is none, or none that can be read."""

    field: str
    has_filename: bool
    filename: str | None
    content_type: str
    is_base64: bool

    @classmethod
    def of(cls, lines: bytes) -> Head:
        values = {}
        for line in FOLDED_LINE.sub(b" ", lines).split(b"\r\n"):
            name, _, value = line.partition(b":")
            values[name.strip().lower()] = value.strip()
        parameters = {}
        for name, value in PARAMETER.findall(values.get(b"content-disposition", b"")):
            parameters[name.lower()] = _unquoted(value.strip())
        filename = _filename(parameters.get(b"filename"))
        names = [filename, _extended_text(parameters.get(b"filename*"))]
        return cls(
            field=parameters.get(b"name", b"").decode(errors="replace").strip(),
            has_filename=any(name.startswith(b"filename") for name in parameters),
            filename=next((name for name in reversed(names) if name is not None), None),
            content_type=values.get(b"content-type", b"").decode("latin-1").lower(),
            is_base64=values.get(b"content-transfer-encoding", b"").lower() == b"base64",
        )


def _unquoted(value: bytes) -> bytes:
    if not value.startswith(b'"'):
        return value
    closed = len(value) > 1 and value.endswith(b'"')
    return re.sub(rb'\\(["\\])', rb"\1", value[1:-1] if closed else value[1:])


def _filename(value: bytes | None) -> str | None:
    """Return the name as it was before a browser or a mail program encoded it, or None."""
    if value and ENCODED_WORD.fullmatch(value):
        return _decoded_words(value.decode("ascii"))
    name = _text(value)
    return name and BROWSERS_ESCAPE.sub(lambda escape: unquote(escape[0]), name)


def _decoded_words(text: str) -> str | None:
    """Return the text of ``=?charset?encoding?text?=``, as RFC 2047 has it, or None."""
    try:
        return str(make_header(decode_header(text)))
    except (MessageError, LookupError, ValueError):
        return None


def _text(value: bytes | None, charset: str = "utf-8") -> str | None:
    """Return the decoded text; None for bytes that are no text, and for an unknown charset."""
    try:
        return None if value is None else value.decode(charset)
    except (LookupError, ValueError):
        return None


def _extended_text(value: bytes | None) -> str | None:
    """Return the text of ``filename*=charset'language'text``, as RFC 8187 has it, or None."""
    charset, _, rest = (value or b"").partition(b"'")
    text = rest.partition(b"'")[2]
    return _text(unquote_to_bytes(text), charset.decode("latin-1")) if text else None
