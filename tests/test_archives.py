from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from detection import archives
from detection.archives import ArchiveError, ArchiveTooLargeError, images_in_archive
from detection.models import PredictionBatch
from detection.services import Upload, close_batch, open_batch, predict_images
from tests.factories import image_bytes

PACKERS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
KINDS = ("zip", *PACKERS)
PHOTO = image_bytes()
END_OF_TAR = bytes(1024)

stateless = pytest.mark.stateless


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


# What is taken


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_images_come_in_the_order_of_the_archive(kind):
    others = {f"{n}.png": image_bytes(seed=n, image_format="PNG") for n in (3, 1, 2)}

    uploads = images(archive_of(kind, {"z.jpg": PHOTO} | others))

    assert [upload.filename for upload in uploads] == ["z.jpg", "3.png", "1.png", "2.png"]
    assert uploads[0] == Upload("z.jpg", PHOTO)
    assert uploads[2].data == others["1.png"]


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_files_are_chosen_as_in_a_folder(kind):
    archive = archive_of(
        kind,
        {
            "README.txt": b"These are pictures.",
            "photos/a.jpg": PHOTO,
            "photos/without extension": PHOTO,
            "photos/text.png": b"text",
            "empty.heic": b"",
            "more.zip": zip_of({"inner.jpg": PHOTO}),
            "more.tar": tar_of({"inner.jpg": PHOTO}),
            ".hidden.jpg": PHOTO,
            ".thumbnails/b.jpg": PHOTO,
            "__MACOSX/photos/._a.jpg": PHOTO,
        },
    )

    assert names(archive) == ["a.jpg", "without extension", "text.png", "empty.heic"]


@stateless
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["../../etc/a.jpg", "/etc/a.jpg", "./a.jpg", "..\\a.jpg", "C:\\x\\a.jpg", "x/\u202ea.jpg"],
)
def test_names_lose_their_folders(kind, name):
    assert names(archive_of(kind, {name: PHOTO})) == ["a.jpg"]


@stateless
def test_names_are_read_in_the_encodings_that_programs_write():
    utf8 = "Ж日.jpg".encode()
    unmarked = changed(zip_of({"aaaaa.jpg": PHOTO}), b"aaaaa.jpg", utf8)
    dos = changed(zip_of({"aaaaa.jpg": PHOTO}), b"aaaaa.jpg", b"\x81ber!.jpg")

    assert names(zip_of({"Ж日.jpg": PHOTO})) == ["Ж日.jpg"]
    assert names(unmarked) == ["Ж日.jpg"]
    assert names(dos) == ["über!.jpg"]
    assert names(tar_of({"Ж日.jpg": PHOTO})) == ["Ж日.jpg"]
    assert names(tar_of({"f\udcfcr.jpg": PHOTO})) == ["fr.jpg"]  # a byte that is no UTF-8
    assert names(tar_of({f"{'long' * 60}.jpg": PHOTO})) == [f"{'long' * 49}.jpg"]


@stateless
def test_two_images_may_have_one_name():
    data = zip_of({"a.jpg": PHOTO, "b.jpg": image_bytes(seed=1)})

    first, second = images(changed(data, b"b.jpg", b"a.jpg"))

    assert (first.filename, first.data) == ("a.jpg", PHOTO)
    assert (second.filename, second.data) == ("a.jpg", image_bytes(seed=1))


@stateless
def test_links_devices_and_folders_in_a_tar_are_left_out():
    kinds = (
        *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
        *(tarfile.FIFOTYPE, tarfile.DIRTYPE),
    )
    members = []
    for kind in kinds:
        member = tarfile.TarInfo("link.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        members.append(member)

    assert names(tar_of({"a.jpg": PHOTO}, *members)) == ["a.jpg"]


@stateless
def test_links_and_folders_in_a_zip_are_left_out():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("folder.jpg/", b"")
        archive.writestr("a.jpg", PHOTO)
        archive.writestr(zipfile.ZipInfo(""), PHOTO)

    assert names(buffer.getvalue()) == ["a.jpg", "image"]


@stateless
def test_an_xz_of_several_streams_with_zeros_between_them_is_one():
    data = tar_of({"a.jpg": PHOTO, "b.jpg": PHOTO})
    packed = lzma.compress(data[:3000]) + bytes(8) + lzma.compress(data[3000:]) + bytes(4)

    assert names(packed) == ["a.jpg", "b.jpg"]


@stateless
def test_old_tars_have_no_magic_word():
    data = bytearray(tar_header(size=len(PHOTO)))
    data[257:265] = bytes(8)
    checksum = sum(data[:148]) + 8 * 32 + sum(data[156:])
    data[148:156] = b"%06o\0 " % checksum

    assert names(bytes(data) + UNFINISHED_TAR[512:] + END_OF_TAR) == ["a.jpg"]


# What is refused as an item


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_with_too_many_bytes_is_cut_off_behind_the_limit(kind, settings):
    settings.MAX_UPLOAD_BYTES = 100_000
    files = {"large.jpg": PHOTO + bytes(150_000), "limit.jpg": PHOTO.ljust(100_000), "b.jpg": PHOTO}

    uploads = images(archive_of(kind, files))

    assert [len(upload.data) for upload in uploads] == [100_001, 100_000, len(PHOTO)]


BAD = b"x" * 5000
THREE = zip_of({"a.jpg": PHOTO, "bad.jpg": BAD, "c.jpg": PHOTO}, method=zipfile.ZIP_STORED)
WRONG_CHECKSUM = changed(THREE, BAD, b"y" + BAD[1:])


def with_flags(data: bytes, *, flag: int = 0, method: int | None = None) -> bytes:
    """The second member's flags or method changed, in its own header and in the directory."""
    data = bytearray(data)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.index(signature, data.index(signature) + 1)
        data[start + at] |= flag
        if method is not None:
            struct.pack_into("<H", data, start + at + 2, method)
    return bytes(data)


@stateless
@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        (WRONG_CHECKSUM, "is damaged in the archive"),
        (with_flags(THREE, flag=1), "is encrypted"),
        (with_flags(THREE, method=9), "packed in a way that cannot be read"),
        (with_flags(THREE, method=14), "packed in a way that cannot be read"),
        (with_flags(THREE, method=8), "is damaged in the archive"),
        (with_flags(THREE, flag=0x20), "is damaged in the archive"),
    ],
    ids=["checksum", "encrypted", "deflate64", "lzma", "no deflate data", "patch data"],
)
def test_a_bad_file_of_a_zip_never_sinks_the_others(archive, sentence):
    first, bad, last = images(archive)

    assert (first.data, first.error, last.data, last.error) == (PHOTO, None, PHOTO, None)
    assert bad.filename == "bad.jpg"
    assert bad.error.code == "undecodable_image"
    assert sentence in str(bad.error)


def with_declared_size(data: bytes, size: int) -> bytes:
    """The unpacked size of the first member changed, in the directory."""
    data = bytearray(data)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


@stateless
@pytest.mark.parametrize("method", archives.ZIP_METHODS)
def test_a_zip_that_lies_about_a_size_gives_what_is_really_there(method):
    data = zip_of({"a.jpg": PHOTO, "b.jpg": PHOTO}, method=method)

    less, after_less = images(with_declared_size(data, len(PHOTO) - 1))
    more, after_more = images(with_declared_size(data, 4_000_000_000))

    assert "damaged in the archive" in str(less.error)
    assert more.data == after_less.data == after_more.data == PHOTO


@stateless
def test_a_sparse_file_is_refused_however_little_it_takes():
    header = bytearray(tar_header(name="holes.jpg", size=0, type=tarfile.GNUTYPE_SPARSE))
    header[483:495] = b"77777777777\0"  # its real size: 8 GiB of nothing
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))

    [upload] = images(bytes(header) + END_OF_TAR)

    assert "stored with holes" in str(upload.error)


@pytest.mark.django_db
def test_bad_files_of_an_archive_are_errors_of_the_batch(tiny_checkpoint):
    uploads = images(WRONG_CHECKSUM)
    batch = open_batch(total_images=len(uploads), source="batch")
    for _ in predict_images(uploads=uploads, source="batch", batch=batch):
        pass
    close_batch(batch=batch)

    batch = PredictionBatch.objects.get(pk=batch.pk)
    assert (batch.successful, batch.failed) == (2, 1)
    assert batch.errors == [
        {
            "index": 1,
            "filename": "bad.jpg",
            "error": "This file is damaged in the archive.",
            "code": "undecodable_image",
        }
    ]


# What is refused as a whole


@stateless
@pytest.mark.parametrize(
    "data",
    [b"", b"text", PHOTO, b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", gzip.compress(b"text" * 500)],
    ids=["empty", "text", "photo", "gzip", "bzip2", "xz", "packed text"],
)
def test_what_is_no_archive_is_refused(data):
    with pytest.raises(ArchiveError, match="no archive that can be read") as refusal:
        images(data)

    assert refusal.value.code == "invalid_archive"


@stateless
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("files", [{}, {"README.txt": b"text", ".a.jpg": PHOTO}])
def test_an_archive_without_images_is_refused(kind, files):
    with pytest.raises(ArchiveError, match="There is no image in this archive"):
        images(archive_of(kind, files))


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_ends_too_early_is_refused_wherever_it_ends(kind):
    noise = random.Random(0).randbytes(3000)
    data = archive_of(kind, {"a.jpg": PHOTO, "b.jpg": PHOTO + noise, "c.jpg": PHOTO})
    # Behind the end marker, a tar has nothing but zeros.
    end = len(data.rstrip(b"\x00")) if kind == "tar" else len(data) - 1

    for length in [*range(0, end, 97), end]:
        with pytest.raises(ArchiveError, match="damaged"):
            images(data[:length])


@stateless
@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_wrong_checksum_is_found_though_all_images_were_there(kind):
    data = bytearray(archive_of(kind, {"a.jpg": PHOTO}))
    data[-8 if kind == "tar.gz" else -20] ^= 1
    stream = images_in_archive(io.BytesIO(bytes(data)), max_images=1)

    with pytest.raises(ArchiveError, match="damaged"):
        list(stream)


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_more_images_than_are_taken_are_refused(kind):
    data = archive_of(kind, {f"{n}.jpg": PHOTO for n in range(4)})

    assert len(images(data, most=4)) == 4
    with pytest.raises(ArchiveTooLargeError, match="more than 3 images") as refusal:
        images(data, most=3)
    assert refusal.value.code == "archive_too_large"


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_more_files_than_any_batch_has_are_refused(kind, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS_BESIDE", 6)
    data = archive_of(kind, {"a.jpg": PHOTO} | {f"{n}.txt": b"" for n in range(10)})

    assert names(data, most=2) == ["a.jpg"]
    with pytest.raises(ArchiveTooLargeError, match="too many files"):
        images(data, most=1)


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_stopped_by_what_is_really_unpacked(kind, monkeypatch, settings):
    """The limit is far from reached by what the first images have."""
    monkeypatch.setattr(archives, "ALWAYS_UNPACKED", 2_000_000)
    monkeypatch.setattr(archives, "MOST_UNPACKED_TIMES", 2)
    settings.MAX_UPLOAD_BYTES = 500_000
    data = archive_of(kind, {f"{n}.bmp": bytes(500_000) for n in range(9)})
    stream = images_in_archive(io.BytesIO(data), max_images=100)

    if kind == "tar":  # it has the size that it says
        assert len(list(stream)) == 9
        return
    unpacked = [next(stream), next(stream), next(stream)]
    assert {len(upload.data) for upload in unpacked} == {500_000}
    with pytest.raises(ArchiveTooLargeError, match="unpacks to far more"):
        list(stream)


def overlapping_zip(*, quoted: bool) -> bytes:
    """Two entries of the directory that lead to the same bytes, or one into the other's."""
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


@stateless
def test_a_zip_whose_last_file_reaches_into_the_directory_is_refused():
    data = bytearray(zip_of({"a.jpg": PHOTO}, method=zipfile.ZIP_STORED))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, len(PHOTO) + 100)

    with pytest.raises(ArchiveError, match="overlap"):
        images(bytes(data))


@stateless
@pytest.mark.parametrize("quoted", [True, False])
def test_a_zip_whose_files_overlap_is_refused(quoted):
    with pytest.raises(ArchiveError, match="overlap"):
        images(overlapping_zip(quoted=quoted))


def long_named_tar(length: int) -> bytes:
    name = b"n" * (length - 4) + b".jpg"
    header = tar_header(name="././@LongLink", size=length, type=tarfile.GNUTYPE_LONGNAME)
    return UNFINISHED_TAR + header + name + bytes(-length % 512) + UNFINISHED_TAR + END_OF_TAR


@stateless
def test_a_header_of_a_tar_gets_no_more_memory_than_a_header_needs():
    assert len(images(long_named_tar(500_000))) == 2
    with pytest.raises(ArchiveError, match="This archive is damaged"):
        images(long_named_tar(3_000_000))


@stateless
def test_headers_of_a_tar_are_not_kept():
    """Those for all files that follow would pile up, though each of them is small enough."""
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


@stateless
def test_headers_about_headers_without_end_are_refused():
    chain = tar_header(name="x", size=0, type=tarfile.XHDTYPE) * 2000

    with pytest.raises(ArchiveError, match="This archive is damaged"):
        images(UNFINISHED_TAR + chain + END_OF_TAR)


@stateless
def test_an_xz_gets_no_more_memory_than_xz_needs():
    data = bytearray(lzma.compress(tar_of({"a.jpg": PHOTO})))
    header = data[12 : 12 + 4 * (data[12] + 1)]
    assert header[2:4] == b"\x21\x01"  # LZMA2, and one byte that tells the memory it needs
    header[4] = 36  # 1 GiB
    header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
    data[12 : 12 + len(header)] = header

    with pytest.raises(ArchiveError):
        images(bytes(data))


@stateless
def test_a_zip_gets_no_more_memory_than_its_directory_needs(tmp_path):
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(2**27)  # a hole: it takes no disk
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, 2**27 - 4, 4, 0))

    with path.open("rb") as file, pytest.raises(ArchiveTooLargeError, match="too many files"):
        list(images_in_archive(file, max_images=9))


@stateless
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_wrong_with_an_archive_is_said_in_a_sentence(kind, tmp_path):
    """Random bytes changed: no other error comes out."""
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


@stateless
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
