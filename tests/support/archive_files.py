"""Archives of images, good and bad, and the images that are read from them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from contextlib import suppress

from detection.judging.predict import Upload
from detection.sources.archives import ArchiveError, images_in_archive
from tests.support.factories import image_bytes

PACKERS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
KINDS = ("zip", *PACKERS)
PHOTO = image_bytes()
END_OF_TAR = bytes(1024)


def zip_of(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_of(files: dict[str, bytes], *members: tarfile.TarInfo, pax: dict | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers=pax) as archive:
        for member in members:
            archive.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def archive_of(kind: str, files: dict[str, bytes]) -> bytes:
    return zip_of(files) if kind == "zip" else PACKERS[kind](tar_of(files))


def images(data: bytes, *, most: int = 100) -> list[Upload]:
    return list(images_in_archive(io.BytesIO(data), max_images=most))


def spent(data: bytes, *, most: int = 100) -> int:
    """Return what reading an archive counts against the rate, up to its error."""
    counts: list[int] = []
    with suppress(ArchiveError):
        list(images_in_archive(io.BytesIO(data), max_images=most, spend=counts.append))
    return sum(counts)


def names(data: bytes, **options) -> list[str]:
    return [upload.filename for upload in images(data, **options)]


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def tar_header(**fields) -> bytes:
    member = tarfile.TarInfo(fields.pop("name", "a.jpg"))
    for name, value in fields.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT)


UNFINISHED_TAR = tar_header(name="a.jpg", size=len(PHOTO)) + PHOTO + bytes(-len(PHOTO) % 512)
