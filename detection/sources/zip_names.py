"""Decode the names in a zip. A flag or an extra field says that a name is UTF-8. Other names have
the code page of the computer that packed them, which the zip does not mention: it is guessed.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence

IS_UTF8 = 0x800  # a flag
UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version, CRC-32 of the name it replaces, UTF-8
NOT_UTF8 = re.compile(b"[\xf1\xf2]")  # ё and Є in cp866; begin no assigned character in UTF-8
PYTHON_CODE_PAGE = "cp437"  # how Python reads a name without the flag; no byte is lost
MAX_READ = 1000  # names, and bytes of a name, that decide about the code page

LATIN, CYRILLIC, JAPANESE = "À-ÿ", "А-яЁё", "、-】ぁ-ヺー一-鿿！-～"
BRACKETS = re.escape("[]{}^|~@`\\")  # a second byte in Japanese, hardly a neighbour of a letter
RARE_KANJI = b"\x98\x9f"  # in cp932, the first of those that Japan's standard calls rare
# Patterns that names hardly have, for each code page that is tried: characters other than letters,
# mixed scripts, capitals within a word. Of equally good code pages, the first is used.
ODDITIES = {
    "cp437": rf"[^\0-~{LATIN}]|[{LATIN}](?=[{LATIN}{BRACKETS}])|[a-zß-ÿ](?=[À-Þ])|[ß-ÿ](?=[A-Z])",
    "cp932": rf"[^\0-~{JAPANESE}]|(?<![{JAPANESE}])[{JAPANESE}](?=[A-Za-z])"
    rf"|(?<=[A-Za-z])[{JAPANESE}](?![{JAPANESE}])",
    "cp866": rf"[^\0-~{CYRILLIC}№]|[а-яё](?=[А-ЯЁ])|[A-Za-z](?=[{CYRILLIC}])"
    rf"|[{CYRILLIC}](?=[A-Za-z{BRACKETS}])",
}


def names_of(members: Iterable[zipfile.ZipInfo]) -> list[str]:
    """Return the name of each member, with its folders."""
    names = [_certain_name(member) for member in members]
    code_page = _likeliest([name for name in names if isinstance(name, bytes)])
    texts = (
        name.decode(code_page, "replace") if isinstance(name, bytes) else name for name in names
    )
    return [text.partition("\0")[0] for text in texts]


def _certain_name(member: zipfile.ZipInfo) -> str | bytes:
    """Return the name, or its bytes if they are not UTF-8. macOS writes UTF-8 without the flag."""
    if member.flag_bits & IS_UTF8:
        return member.orig_filename
    written = member.orig_filename.encode(PYTHON_CODE_PAGE)
    name = _unicode_path(member.extra, written) or written
    try:
        return written if NOT_UTF8.search(name) else name.decode()
    except UnicodeDecodeError:
        return written


def _unicode_path(extra: bytes, written: bytes) -> bytes | None:
    """Return the name in the extra field, or None if its checksum is not that of the written name:
    programs that rename a member may not know the field.
    """
    version_and_checksum, end = struct.pack("<BI", 1, zlib.crc32(written)), 0
    while (start := end + 4) <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, end)
        end = start + size
        content = extra[start:end]
        if kind == UNICODE_PATH and content.startswith(version_and_checksum):
            return content[5:]
    return None


def _likeliest(names: Sequence[bytes]) -> str:
    """Return the code page in which the names look least odd, all together."""
    some = [name for name in names if len(name) <= MAX_READ][:MAX_READ]
    return min(ODDITIES, key=lambda code_page: sum(_oddity(name, code_page) for name in some))


def _oddity(name: bytes, code_page: str) -> float:
    try:
        text = name.decode(code_page)
    except UnicodeDecodeError:
        return float("inf")
    return len(re.findall(ODDITIES[code_page], text)) + sum(map(_is_rare_kanji, text))


def _is_rare_kanji(character: str) -> bool:
    return "一" <= character <= "鿿" and character.encode("cp932") >= RARE_KANJI
