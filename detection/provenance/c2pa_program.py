"""A program: reads C2PA manifests of pictures, within a limit of memory.

Its first line on standard input is a JSON object: ``max_memory`` in bytes, ``anchors`` in PEM. Each
request is the length of a picture (8 bytes, big endian) and the picture; each answer is the length
of a JSON text and the text: ``{"manifest": …}`` or ``{"error": …}``. It ends when its input ends.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys
from contextlib import suppress
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")


def settings(anchors: str) -> dict[str, Any]:
    """Return settings with which the C2PA library requests no address and renders no thumbnail."""
    return {
        "version": 1,
        "trust": {"trust_anchors": anchors} if anchors else {},
        "verify": {
            "verify_after_reading": True,
            "verify_trust": True,
            "ocsp_fetch": False,
            "remote_manifest_fetch": False,
        },
        "builder": {"thumbnail": {"enabled": False}},
    }


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    given = json.loads(requests.readline())
    with suppress(ValueError):  # macOS has no limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (given["max_memory"], given["max_memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import c2pa  # after the limit was set

    context = c2pa.Context.from_dict(settings(given["anchors"]))
    while len(head := requests.read(_LENGTH.size)) == _LENGTH.size:
        picture = requests.read(_LENGTH.unpack(head)[0])
        answer = json.dumps(_answer(c2pa, picture, context)).encode()
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _answer(c2pa: Any, picture: bytes, context: Any) -> dict[str, Any]:
    try:
        with c2pa.Reader(None, io.BytesIO(picture), context=context) as reader:
            return {"manifest": json.loads(reader.json())}
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        return {"error": f"{type(error).__name__.lstrip('_')}: {error}"[:300]}


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
