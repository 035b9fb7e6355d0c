"""The texts of an IPTC-IIM block."""

from __future__ import annotations

from collections.abc import Iterator

# Dataset numbers of record 2 that name a program or a source
CREDITS = {65: "program", 110: "credit", 115: "source", 40: "instructions"}
_MARKER, _APPLICATION_RECORD = 0x1C, 2
_LONG = 0x8000  # the length has more than two bytes


def credits_of(block: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names of the ``CREDITS`` in a block, with their texts."""
    position = 0
    while position + 5 <= len(block) and block[position] == _MARKER:
        record, dataset = block[position + 1 : position + 3]
        length = int.from_bytes(block[position + 3 : position + 5], "big")
        if length & _LONG:
            return
        value = block[position + 5 : position + 5 + length]
        if record == _APPLICATION_RECORD and dataset in CREDITS:
            yield CREDITS[dataset], value.decode("utf-8", "replace")
        position += 5 + length
