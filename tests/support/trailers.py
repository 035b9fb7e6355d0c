"""Data that cameras and phones store behind the end of a photograph."""

from __future__ import annotations

import random
import struct

from tests.support.image_files import encoded, photograph, picture

TRAILERS = [
    "zeros",
    "fill bytes",
    "line feed",
    "random",
    "second picture",
    "padded second picture",
    "film of a motion photo",
    "depth map",
    "Samsung's blocks",
    "Samsung's film",
    "text",
]


def samsungs_directory(length: int) -> bytes:
    """Return the directory of one block of ``length`` bytes before it."""
    entry = struct.pack("<HHII", 0, 0x0A01, length, length)
    directory = b"SEFH" + struct.pack("<II", 107, 1) + entry
    return directory + struct.pack("<I", len(directory)) + b"SEFT"


def trailer(kind: str) -> bytes:
    """Return one of ``TRAILERS``."""
    picture_behind = photograph()
    film = struct.pack(">I4s8sI", 20, b"ftyp", b"mp42\0\0\0\0", 0) + bytes(range(256)) * 40
    block = b"\0\0\1\x0a\x0e\0\0\0Image_UTC_Data1600000000000"
    return {
        "zeros": bytes(5000),
        "fill bytes": b"\xff" * 5000,
        "line feed": b"\n",
        "random": random.Random(2).randbytes(5000),
        "second picture": picture_behind,  # MPF: a preview or the other eye's view
        "padded second picture": bytes(3000) + picture_behind + bytes(3000),
        "film of a motion photo": film,
        "depth map": encoded(picture().convert("L"), "PNG"),
        "Samsung's blocks": block + samsungs_directory(len(block)),
        "Samsung's film": b"MotionPhoto_Data" + film + samsungs_directory(16 + len(film)),
        "text": b'{"lens": "wide", "focus": 3}' * 100,
    }[kind]
