"""Archives that are refused as a whole: damaged ones, bombs, too large ones."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from detection.sources import archives
from detection.sources.archives import ArchiveError, ArchiveTooLargeError, images_in_archive
from tests.support.archive_files import (
    END_OF_TAR,
    KINDS,
    PHOTO,
    UNFINISHED_TAR,
    archive_of,
    images,
    names,
    spent,
    tar_header,
    tar_of,
    zip_of,
)

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize(
    "data",
    [b"", b"text", PHOTO, b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", gzip.compress(b"text" * 500)],
    ids=["empty", "text", "photo", "gzip", "bzip2", "xz", "packed text"],
)
def test_a_file_that_is_no_archive_is_refused(data):
    with pytest.raises(ArchiveError, match="no archive that can be read") as refusal:
        images(data)

    assert refusal.value.code == "invalid_archive"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("files", [{}, {"README.txt": b"text", ".a.jpg": PHOTO}])
def test_an_archive_without_images_is_refused(kind, files):
    with pytest.raises(ArchiveError, match="There is no image in this archive"):
        images(archive_of(kind, files))


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_ends_too_early_is_refused_wherever_it_ends(kind):
    noise = random.Random(0).randbytes(3000)
    data = archive_of(kind, {"a.jpg": PHOTO, "b.jpg": PHOTO + noise, "c.jpg": PHOTO})
    # Behind the end marker, a tar has nothing but zeros.
    end = len(data.rstrip(b"\x00")) if kind == "tar" else len(data) - 1

    for length in [*range(0, end, 97), end]:
        with pytest.raises(ArchiveError, match="damaged"):
            images(data[:length])


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_wrong_checksum_is_found_though_all_images_were_there(kind):
    data = bytearray(archive_of(kind, {"a.jpg": PHOTO}))
    data[-8 if kind == "tar.gz" else -20] ^= 1
    stream = images_in_archive(io.BytesIO(bytes(data)), max_images=1)

    with pytest.raises(ArchiveError, match="damaged"):
        list(stream)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_images_are_refused(kind):
    data = archive_of(kind, {f"{n}.jpg": PHOTO for n in range(4)})

    assert len(images(data, most=4)) == 4
    with pytest.raises(ArchiveTooLargeError, match="more than 3 images") as refusal:
        images(data, most=3)
    assert refusal.value.code == "archive_too_large"


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_files_are_refused(kind, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS_BESIDE", 6)
    data = archive_of(kind, {"a.jpg": PHOTO} | {f"{n}.txt": b"" for n in range(10)})

    assert names(data, most=2) == ["a.jpg"]
    with pytest.raises(ArchiveTooLargeError, match="too many files"):
        images(data, most=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_stopped_by_what_is_really_unpacked(kind, monkeypatch, settings):
    """Read further than the first images, which are far below the limit."""
    monkeypatch.setattr(archives, "ALWAYS_UNPACKED", 2_000_000)
    monkeypatch.setattr(archives, "MAX_UNPACKED_TIMES", 2)
    settings.MAX_UPLOAD_BYTES = 500_000
    data = archive_of(kind, {f"{n}.bmp": bytes(500_000) for n in range(9)})
    stream = images_in_archive(io.BytesIO(data), max_images=100)

    if kind == "tar":  # it has the size that it says
        assert len(list(stream)) == 9
        return
    unpacked = [next(stream), next(stream), next(stream)]
    assert {len(upload.data) for upload in unpacked} == {500_000}
    with pytest.raises(ArchiveTooLargeError, match="unpacks to too many bytes"):
        list(stream)


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_and_each_mebibyte_is_counted_also_of_other_files(kind):
    files = {"a.jpg": PHOTO, "b.bmp": bytes(1_500_000), "notes.txt": bytes(2_000_000)}

    assert spent(archive_of(kind, {"a.jpg": PHOTO, "b.jpg": PHOTO})) == 2
    # Of a zip, a file that is no image is not unpacked, but for its head.
    assert spent(archive_of(kind, files)) == 2 + (1 if kind == "zip" else 3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_read_part_of_a_broken_archive_is_counted(kind):
    chance = random.Random(0)
    data = archive_of(kind, {f"{n}.jpg": PHOTO + chance.randbytes(60_000) for n in range(30)})

    if kind != "zip":  # whose directory, which is read first, is at the end
        assert 10 < spent(data[: len(data) * 2 // 3]) < 30
    assert spent(data, most=20) in (21, 22)  # with the first MiB


def test_a_small_archive_unpacks_to_64_mib_at_most():
    bomb = archive_of("tar.gz", {f"{n}.bmp": bytes(2**24) for n in range(5)})
    assert len(bomb) < 100_000  # far from a twentieth of what it holds

    with pytest.raises(ArchiveTooLargeError, match="unpacks to too many bytes"):
        images(bomb)
    assert 64 <= spent(bomb) <= 70


def overlapping_zip(*, quoted: bool) -> bytes:
    """Return a zip with two entries for the same bytes, or with one inside of the other."""
    inner = zip_of({"b.jpg": PHOTO}, method=zipfile.ZIP_STORED)
    member = inner[: inner.index(b"PK\x01\x02")]
    facts = (zlib.crc32(member), len(member), len(member))
    outer = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 33, *facts, 5, 0)
    body = outer + b"a.jpg" + member
    directory = b""
    for name, data, start in (
        ("a.jpg", member, 0),
        ("b.jpg", PHOTO, len(body) - len(member)) if quoted else ("a.jpg", member, 0),
    ):
        directory += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\x01\x02", 20, 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data)),
            *(5, 0, 0, 0, 0, 0, start),
        )
        directory += name.encode()
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)
    return body + directory + end


def test_a_zip_whose_last_file_reaches_into_the_directory_is_refused():
    data = bytearray(zip_of({"a.jpg": PHOTO}, method=zipfile.ZIP_STORED))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, len(PHOTO) + 100)

    with pytest.raises(ArchiveError, match="overlap"):
        images(bytes(data))


@pytest.mark.parametrize("quoted", [True, False])
def test_a_zip_whose_files_overlap_is_refused(quoted):
    with pytest.raises(ArchiveError, match="overlap"):
        images(overlapping_zip(quoted=quoted))


def long_named_tar(length: int) -> bytes:
    name = b"n" * (length - 4) + b".jpg"
    header = tar_header(name="././@LongLink", size=length, type=tarfile.GNUTYPE_LONGNAME)
    return UNFINISHED_TAR + header + name + bytes(-length % 512) + UNFINISHED_TAR + END_OF_TAR


def test_a_header_of_a_tar_gets_no_more_memory_than_a_header_needs():
    assert len(images(long_named_tar(500_000))) == 2
    with pytest.raises(ArchiveError, match="This archive is damaged"):
        images(long_named_tar(3_000_000))


def test_headers_of_a_tar_do_not_stay_in_memory():
    """Headers for all following files would pile up, though each header is small enough."""
    data = UNFINISHED_TAR
    for number in range(40):
        text = b" k%06d=%s\n" % (number, b"x" * 500_000)
        length = len(text) + 6
        data += tar_header(name="pax", size=length, type=tarfile.XGLTYPE) + b"%d" % length + text
        data += bytes(-length % 512) + tar_header(name="empty.txt", size=0)

    data += END_OF_TAR
    tracemalloc.start()
    try:
        assert names(data) == ["a.jpg"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


def test_an_endless_chain_of_headers_is_refused():
    chain = tar_header(name="x", size=0, type=tarfile.XHDTYPE) * 2000

    with pytest.raises(ArchiveError, match="This archive is damaged"):
        images(UNFINISHED_TAR + chain + END_OF_TAR)


def test_an_xz_gets_no_more_memory_than_xz_needs():
    data = bytearray(lzma.compress(tar_of({"a.jpg": PHOTO})))
    header = data[12 : 12 + 4 * (data[12] + 1)]
    assert header[2:4] == b"\x21\x01"  # LZMA2, and one byte with the memory that it needs
    header[4] = 36  # 1 GiB
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    data[12 : 12 + len(header)] = header

    with pytest.raises(ArchiveError):
        images(bytes(data))


def test_a_zip_gets_no_more_memory_than_its_directory_needs(tmp_path):
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(2**27)  # a hole: it takes no disk
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, 2**27 - 4, 4, 0))

    with path.open("rb") as file, pytest.raises(ArchiveTooLargeError, match="too many files"):
        list(images_in_archive(file, max_images=9))


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_of_an_archive_is_reported_in_a_sentence(kind, tmp_path):
    """Change random bytes: no other error may occur."""
    chance = random.Random(kind)
    files = {"a.jpg": PHOTO, "long" * 40 + ".jpg": PHOTO, "c.txt": b"text"}
    data = archive_of(kind, files)
    path = tmp_path / "archive"
    refused = 0

    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            mutated[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(mutated)
        try:
            with path.open("rb") as file:
                list(images_in_archive(file, max_images=9))
        except ArchiveError:
            refused += 1

    assert refused


def test_errors_of_the_disk_are_not_blamed_on_the_archive():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 5000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    for kind in KINDS:
        files = {f"{n}.jpg": random.Random(n).randbytes(9000) for n in range(3)}
        with pytest.raises(OSError, match="Input/output error"):
            list(images_in_archive(Failing(archive_of(kind, files)), max_images=9))
