"""Read the images of an archive: of a zip, or of a tar, plain or packed with gzip, bzip2 or xz.

Strangers send archives, and a small one can unpack to more than any disk holds. So unpacked bytes
are counted, whatever the headers claim, and at most one image is in memory. An image that cannot be
unpacked is an item of the batch with its error, like any bad image; an archive that is cut off, or
that holds too much, is refused as a whole.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from django.conf import settings

from detection.d3.errors import ImageError
from detection.errors import ServiceError
from detection.files import clean_filename
from detection.judging import Upload
from detection.sources.candidates import HEAD_BYTES, has_image_content, is_named_like_an_image
from detection.sources.zip_names import names_of

MEMBERS_PER_IMAGE = 4  # folders, sidecars, and the twins that macOS puts beside each file
MEMBERS_BESIDE = 1000
MAX_UNPACKED_TIMES = 20  # times the archive's size; photographs hardly shrink
ALWAYS_UNPACKED = 2**26  # bytes, even of a small archive: a few screenshots shrink a lot
MAX_HEADER_BYTES = 2**20  # of one member of a tar
MAX_DIRECTORY_BYTES = 2**26  # of a zip
MAX_XZ_MEMORY = 2**27  # bytes; `xz -9` asks for half of it
CHUNK, MIB = 2**16, 2**20

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # a member, or the end of an empty archive
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other methods may need much memory
ZIP_ENCRYPTED = 0x1
ZIP_ENTRY, ZIP_ENTRY_BYTES = b"PK\x01\x02", 30

NO_ARCHIVE = (
    "This file is no archive that can be read (zip, tar, tar.gz, tar.bz2 or tar.xz), or is damaged."
)
DAMAGED = "This archive is damaged, or a part of it is missing."

# Errors that Python's modules raise for damaged bytes. Among them are OSErrors without a number or
# with EINVAL; any other OSError is an error of the disk.
NOT_FROM_DISK = (None, errno.EINVAL)
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    ValueError,
    OSError,
)


class ArchiveError(ServiceError):
    """The archive cannot be used."""

    code = "invalid_archive"


class ArchiveTooLargeError(ArchiveError):
    """The archive holds more images, files or bytes than are accepted."""

    code = "archive_too_large"


def images_in_archive(
    file: BinaryIO, *, max_images: int, spend: Callable[[int], object] = int
) -> Iterator[Upload]:
    """Yield the images of a seekable ``file``, in the order of the archive.

    The content shows the type of the archive. Images are chosen as in a folder: by content or by
    name. Hidden members, and members that are no files, are left out; archives in the archive are
    not opened. Names lose their folders. An image with too many bytes is cut off after the first
    byte too many, so that it is refused when it is judged. ``spend`` counts each image that
    was read, and each MiB that was unpacked.

    Raises ArchiveError, possibly after some images.
    """
    found, max_members = 0, MEMBERS_PER_IMAGE * max_images + MEMBERS_BESIDE
    for found, upload in enumerate(_open(file, max_members, spend), start=1):
        spend(1)
        if found > max_images:
            raise ArchiveTooLargeError(f"The archive has more than {max_images} images.")
        yield upload
    if not found:
        raise ArchiveError("There is no image in this archive.")


def _open(file: BinaryIO, max_members: int, spend: Callable[[int], object]) -> Iterator[Upload]:
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    allowance = _Allowance(max_members, max(ALWAYS_UNPACKED, MAX_UNPACKED_TIMES * size), spend)
    if head.startswith(ZIP_STARTS):
        return _images_in_zip(file, allowance)
    if head.startswith(b"\x1f\x8b"):
        file = gzip.GzipFile(fileobj=file)
    elif head.startswith(b"BZh"):
        file = bz2.BZ2File(file)
    elif head.startswith(b"\xfd7zXZ\x00"):
        file = _XzFile(file)
    return _images_in_tar(_Unpacked(file, allowance), allowance)


@dataclass(slots=True)
class _Allowance:
    """How much more of an archive is accepted."""

    members: int
    max_bytes: int
    spend: Callable[[int], object]  # for each MiB
    unpacked: int = 0

    def take_member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise ArchiveTooLargeError("The archive has too many files.")

    def take_bytes(self, count: int) -> None:
        before, self.unpacked = self.unpacked, self.unpacked + count
        self.spend(self.unpacked // MIB - before // MIB)
        if self.unpacked > self.max_bytes:
            raise ArchiveTooLargeError("The archive unpacks to too many bytes.")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


# Zip


def _images_in_zip(file: BinaryIO, allowance: _Allowance) -> Iterator[Upload]:
    with _damage_errors():
        archive = zipfile.ZipFile(_BoundedDirectory(file, allowance.members))
    _refuse_overlaps(archive)
    members = archive.infolist()
    for member, name in zip(members, names_of(members), strict=True):
        if _is_plain_file(member) and not _is_hidden(name):
            upload = _zip_upload(archive, member, name, allowance)
            if upload:
                yield upload


class _BoundedDirectory:
    """The file of a zip with a limit on its directory, which Python's module reads as a whole and
    turns into objects at once.
    """

    def __init__(self, file: BinaryIO, max_members: int) -> None:
        self._file = file
        self._max_members = max_members
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise ArchiveTooLargeError("The archive has too many files.")
        data = self._file.read(size)
        if data.count(ZIP_ENTRY) > self._max_members:
            raise ArchiveTooLargeError("The archive has too many files.")
        return data


def _refuse_overlaps(archive: zipfile.ZipFile) -> None:
    """Refuse members that share bytes: with them, a small zip unpacks to very many bytes."""
    end = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise ArchiveError("Files in this archive overlap.")
        end = member.header_offset + ZIP_ENTRY_BYTES + member.compress_size
    if end > archive.start_dir:
        raise ArchiveError("Files in this archive overlap.")


def _is_plain_file(member: zipfile.ZipInfo) -> bool:
    """Return whether the member is a plain file. The upper half of its attributes is the type on
    Unix, or 0 if the zip was not made there.
    """
    kind = stat.S_IFMT(member.external_attr >> 16)
    return not member.filename.endswith("/") and kind in (0, stat.S_IFREG)


def _zip_upload(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, allowance: _Allowance
) -> Upload | None:
    if member.flag_bits & ZIP_ENCRYPTED:
        return _refused(name, "is encrypted")
    if member.compress_type not in ZIP_METHODS:
        return _refused(name, "is packed in a way that cannot be read")
    try:
        with _damage_errors(), archive.open(member) as content:
            return _upload(name, _Unpacked(content, allowance))
    except ArchiveTooLargeError:
        raise
    except ArchiveError:
        return _refused(name, "is damaged in the archive")


# Tar


class _Header(tarfile.TarInfo):
    """A header that raises ReadError if it is unreadable. Python's own class would take it for the
    end of the archive.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _images_in_tar(file: _Unpacked, allowance: _Allowance) -> Iterator[Upload]:
    with _damage_errors(NO_ARCHIVE):
        file.at_once = MAX_HEADER_BYTES
        archive = tarfile.TarFile(fileobj=file, tarinfo=_Header, encoding="utf-8")
    while member := _next_member(archive, file):
        allowance.take_member()
        if member.isreg() and not _is_hidden(member.name):
            upload = _tar_upload(archive, member)
            if upload:
                yield upload
    with _damage_errors():
        file.drain()  # reads the checksum of the packed bytes, which follows the last member


def _next_member(archive: tarfile.TarFile, file: _Unpacked) -> tarfile.TarInfo | None:
    file.at_once = MAX_HEADER_BYTES
    with _damage_errors():
        member = archive.next()
    archive.members.clear()  # otherwise all headers would stay in memory
    archive.pax_headers.clear()
    file.at_once = _image_bytes()
    return member


def _tar_upload(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Upload | None:
    if member.issparse():  # terabytes of zeros need no bytes in the archive
        return _refused(member.name, "is stored with holes, which cannot be read")
    with _damage_errors(), archive.extractfile(member) as content:
        return _upload(member.name, content)


class _XzFile:
    """Like lzma.LZMAFile, with a limit on the memory that a file may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = _xz_decoder()
        self._packed = b""

    def read(self, size: int) -> bytes:
        data = b""
        while not data and (not self._decoder.eof or self._begin_next_stream()):
            if self._decoder.needs_input and not self._packed:
                self._packed = self._file.read(CHUNK)
                if not self._packed:
                    raise EOFError
            packed, self._packed = self._packed, b""
            data = self._decoder.decompress(packed, size)
        return data

    def _begin_next_stream(self) -> bool:
        """Begin the next stream; return False if there is none. Some programs write several
        streams, with zeros between them.
        """
        rest = self._decoder.unused_data.lstrip(b"\x00")
        while not rest and (packed := self._file.read(CHUNK)):
            rest = packed.lstrip(b"\x00")
        if rest:
            self._decoder, self._packed = _xz_decoder(), rest
        return bool(rest)


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)


# Zip and tar


class _Unpacked:
    """The unpacked bytes of a tar, or of one file in a zip: read forwards only, and counted.

    ``at_once`` is how many bytes may be read until it is set again, since Python reads as many into
    memory as a header says.
    """

    def __init__(self, file: _Readable, allowance: _Allowance) -> None:
        self.at_once = _image_bytes()
        self._file = file
        self._allowance = allowance
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self._read(min(CHUNK, position - self._position)):
            pass

    def read(self, size: int) -> bytes:
        self.at_once -= size
        if self.at_once < 0:
            raise tarfile.ReadError("A header is too large.")
        parts = []
        while size and (part := self._read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        while self._read(CHUNK):
            pass

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        self._allowance.take_bytes(len(data))
        return data


def _image_bytes() -> int:
    """Return how many bytes are read of an image at most, some of them ahead."""
    return settings.MAX_UPLOAD_BYTES + 2 * CHUNK


def _is_hidden(name: str) -> bool:
    parts = re.split(r"[/\\]", name)
    return any(
        part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def _upload(name: str, content: _Readable) -> Upload | None:
    """Read an image; return None for a file that is no image."""
    data = content.read(HEAD_BYTES)
    if not (is_named_like_an_image(name) or has_image_content(data)):
        return None
    parts, rest = [data], settings.MAX_UPLOAD_BYTES + 1 - len(data)
    while rest > 0 and (part := content.read(min(CHUNK, rest))):
        parts.append(part)
        rest -= len(part)
    return Upload(clean_filename(name), b"".join(parts))


def _refused(name: str, why: str) -> Upload | None:
    """Return an upload with an error for a file that cannot be unpacked, if the file is named like
    an image.
    """
    if not is_named_like_an_image(name):
        return None
    return Upload(clean_filename(name), b"", error=ImageError(f"This file {why}."))


@contextmanager
def _damage_errors(sentence: str = DAMAGED) -> Iterator[None]:
    """Raise ArchiveError for damaged bytes, and errors of the disk as they are."""
    try:
        yield
    except DAMAGE as error:
        if disk_error := _disk_error(error):
            raise disk_error from None
        raise ArchiveError(sentence) from error


def _disk_error(error: BaseException | None) -> OSError | None:
    """Return the error of the disk, if Python's module raised its error because of one."""
    while error:
        if isinstance(error, OSError) and error.errno not in NOT_FROM_DISK:
            return error
        error = error.__context__
    return None
