"""Images in archives, and refused members."""

from __future__ import annotations

import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from detection.judging.predict import Upload
from detection.sources import archives
from tests.support.archive_files import (
    END_OF_TAR,
    KINDS,
    PHOTO,
    UNFINISHED_TAR,
    archive_of,
    changed,
    images,
    names,
    tar_header,
    tar_of,
    zip_of,
)
from tests.support.factories import image_bytes

pytestmark = pytest.mark.stateless


# Accepted members


@pytest.mark.parametrize("kind", KINDS)
def test_images_have_the_order_of_the_archive(kind):
    others = {f"{n}.png": image_bytes(seed=n, image_format="PNG") for n in (3, 1, 2)}

    uploads = images(archive_of(kind, {"z.jpg": PHOTO} | others))

    assert [upload.filename for upload in uploads] == ["z.jpg", "3.png", "1.png", "2.png"]
    assert uploads[0] == Upload("z.jpg", PHOTO)
    assert uploads[2].data == others["1.png"]


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["../../etc/a.jpg", "/etc/a.jpg", "./a.jpg", "..\\a.jpg", "C:\\x\\a.jpg", "x/\u202ea.jpg"],
)
def test_names_lose_their_folders(kind, name):
    assert names(archive_of(kind, {name: PHOTO})) == ["a.jpg"]


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


def zip_with_name(written: bytes, *, unicode_path: str = "", of: bytes | None = None) -> bytes:
    """Return a zip of one member with this name, and with Info-ZIP's field for the name ``of``."""
    buffer, placeholder = io.BytesIO(), b"a" * len(written)
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(placeholder.decode())
        if unicode_path:
            checksum = zlib.crc32(written if of is None else of)
            field = struct.pack("<BI", 1, checksum) + unicode_path.encode()
            member.extra = struct.pack("<HH", 0x5455, 1) + b"\0"  # another field before it
            member.extra += struct.pack("<HH", 0x7075, len(field)) + field
        archive.writestr(member, PHOTO)
    return changed(buffer.getvalue(), placeholder, written)


@pytest.mark.parametrize(
    ("name", "code_page"),
    [
        ("写真.jpg", "cp932"),
        ("表.jpg", "cp932"),  # its second byte is a backslash
        ("旅行/海 2026.jpg", "cp932"),
        ("スクリーンショット.png", "cp932"),
        ("IMG写真01.jpg", "cp932"),
        ("Фото.jpg", "cp866"),
        ("Отпуск/ЗИМА 1.jpg", "cp866"),
        ("ёлка.jpg", "cp866"),
        ("Größe schön.jpg", "cp437"),
        ("señor Ångström.jpg", "cp437"),
        ("ÖSTERREICH.jpg", "cp437"),
    ],
)
def test_names_that_windows_writes_are_guessed(name, code_page):
    assert names(zip_with_name(name.encode(code_page))) == [name.rpartition("/")[2]]


def test_all_names_of_a_zip_decide_about_its_code_page():
    """Alone, the first name could be Japanese as well."""
    first, second = "МОРЕ.jpg".encode("cp866"), "Отпуск.jpg".encode("cp866")
    assert names(zip_with_name(first)) != ["МОРЕ.jpg"]
    data = zip_of({"a" * len(first): PHOTO, "b" * len(second): PHOTO})

    data = changed(data, b"a" * len(first), first)

    assert names(changed(data, b"b" * len(second), second)) == ["МОРЕ.jpg", "Отпуск.jpg"]


def test_names_that_fit_no_code_page_are_read_nevertheless():
    long, odd = b"\x82" * 3000 + b".jpg", b"\x8e\xca\x90\x5e \x81 .jpg"

    assert names(zip_with_name(long)) == ["é" * 196 + ".jpg"]
    assert names(zip_with_name(odd)) == ["Ä╩É^ ü .jpg"]


def test_the_unicode_field_decides_the_name():
    dos, utf8 = "Ä╩É^.jpg".encode("cp437"), "写真.jpg".encode()

    assert names(zip_with_name(dos, unicode_path="写真.jpg")) == ["写真.jpg"]
    assert names(zip_with_name(b"image.jpg", unicode_path="絵.jpg")) == ["絵.jpg"]
    # The field of another name, as a program leaves it that renames a file
    assert names(zip_with_name(b"new.jpg", unicode_path="写真.jpg", of=dos)) == ["new.jpg"]
    assert names(zip_with_name(utf8, unicode_path="絵.jpg", of=dos)) == ["写真.jpg"]
    assert names(zip_with_name(b"a.jpg\0.txt")) == ["a.jpg"]


def test_two_images_may_have_one_name():
    data = zip_of({"a.jpg": PHOTO, "b.jpg": image_bytes(seed=1)})

    first, second = images(changed(data, b"b.jpg", b"a.jpg"))

    assert (first.filename, first.data) == ("a.jpg", PHOTO)
    assert (second.filename, second.data) == ("a.jpg", image_bytes(seed=1))


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


def test_an_xz_of_several_streams_with_zeros_between_them_is_one():
    data = tar_of({"a.jpg": PHOTO, "b.jpg": PHOTO})
    packed = lzma.compress(data[:3000]) + bytes(8) + lzma.compress(data[3000:]) + bytes(4)

    assert names(packed) == ["a.jpg", "b.jpg"]


def test_old_tars_without_a_magic_word_are_read():
    data = bytearray(tar_header(size=len(PHOTO)))
    data[257:265] = bytes(8)
    checksum = sum(data[:148]) + 8 * 32 + sum(data[156:])
    data[148:156] = b"%06o\0 " % checksum

    assert names(bytes(data) + UNFINISHED_TAR[512:] + END_OF_TAR) == ["a.jpg"]


# Members that are refused alone


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
    """Change the second member's flags or method, in its own header and in the directory."""
    data = bytearray(data)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.index(signature, data.index(signature) + 1)
        data[start + at] |= flag
        if method is not None:
            struct.pack_into("<H", data, start + at + 2, method)
    return bytes(data)


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
def test_a_bad_file_of_a_zip_never_affects_the_others(archive, sentence):
    first, bad, last = images(archive)

    assert (first.data, first.error, last.data, last.error) == (PHOTO, None, PHOTO, None)
    assert bad.filename == "bad.jpg"
    assert bad.error.code == "undecodable_image"
    assert sentence in str(bad.error)


def with_declared_size(data: bytes, size: int) -> bytes:
    """Change the unpacked size of the first member in the directory."""
    data = bytearray(data)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


@pytest.mark.parametrize("method", archives.ZIP_METHODS)
def test_a_zip_with_a_false_size_gives_its_real_content(method):
    data = zip_of({"a.jpg": PHOTO, "b.jpg": PHOTO}, method=method)

    less, after_less = images(with_declared_size(data, len(PHOTO) - 1))
    more, after_more = images(with_declared_size(data, 4_000_000_000))

    assert "damaged in the archive" in str(less.error)
    assert more.data == after_less.data == after_more.data == PHOTO


def test_a_sparse_file_is_refused_however_small_it_is():
    header = bytearray(tar_header(name="holes.jpg", size=0, type=tarfile.GNUTYPE_SPARSE))
    header[483:495] = b"77777777777\0"  # its real size: 8 GiB of nothing
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))

    [upload] = images(bytes(header) + END_OF_TAR)

    assert "stored with holes" in str(upload.error)
