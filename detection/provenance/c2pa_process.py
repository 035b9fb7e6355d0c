"""Read C2PA manifests in a helper process, so that hostile bytes can end only that process.

The helper starts with the first manifest, and again after a failure. It is no fork of this process.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("c2pa_program.py")
_LENGTH = struct.Struct(">Q")
_MAX_ANSWER = 2**24  # bytes
_PIECE = 2**20  # bytes


class UnreadableManifestError(Exception):
    """The manifest cannot be read; the message says why."""


class ManifestHelper:
    """Reads one manifest at a time, for several threads.

    ``anchors`` are certificates in PEM; without them every signer is unknown. A picture may take
    ``seconds``, and the helper process ``max_memory`` bytes of address space.
    """

    def __init__(self, *, anchors: str = "", seconds: float = 5.0, max_memory: int = 2**30) -> None:
        self.has_anchors = bool(anchors.strip())
        self._anchors = anchors
        self._seconds = seconds
        self._max_memory = max_memory
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: socket.socket  # to the process, if there is one
        self._lock = threading.Lock()
        # A forked process must not share the pipe, nor a lock that another thread held.
        os.register_at_fork(after_in_child=self._forget)

    def read(self, picture: bytes) -> dict[str, Any]:
        """Return the library's report on the manifest. Raises UnreadableManifestError."""
        deadline = time.monotonic() + self._seconds
        if not self._lock.acquire(timeout=self._seconds):
            raise UnreadableManifestError("Other manifests used all the time.")
        try:
            answer = self._ask(picture, max(deadline, time.monotonic() + self._seconds / 2))
        except BaseException:
            self._end()
            raise
        finally:
            self._lock.release()
        if "manifest" not in answer:
            raise UnreadableManifestError(str(answer.get("error", "")))
        return answer["manifest"]

    def close(self) -> None:
        """End the helper process; the next manifest starts a new one."""
        with self._lock:
            self._end()

    def _ask(self, picture: bytes, deadline: float) -> dict[str, Any]:
        try:
            if self._process is None or self._process.poll() is not None:
                self._start(deadline)
            self._send(_LENGTH.pack(len(picture)), deadline)
            self._send(picture, deadline)
            (size,) = _LENGTH.unpack(self._receive(_LENGTH.size, deadline))
            if size > _MAX_ANSWER:
                raise UnreadableManifestError("The manifest is too large.")
            return json.loads(self._receive(size, deadline))
        except (OSError, ValueError, RecursionError) as error:
            raise UnreadableManifestError(f"The reader failed: {error}.") from error

    def _start(self, deadline: float) -> None:
        self._end()
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_PROGRAM)],
                stdin=theirs,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath, "HOME": os.devnull},
            )
        first = {"anchors": self._anchors, "max_memory": self._max_memory}
        self._send(json.dumps(first).encode() + b"\n", deadline)

    def _send(self, data: bytes, deadline: float) -> None:
        self._pipe.settimeout(_seconds_until(deadline))
        self._pipe.sendall(data)

    def _receive(self, size: int, deadline: float) -> bytes:
        parts = []
        while size:
            self._pipe.settimeout(_seconds_until(deadline))
            part = self._pipe.recv(min(size, _PIECE))
            if not part:
                raise OSError("it ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._pipe.close()

    def _forget(self) -> None:
        if self._process is not None:
            self._pipe.close()
        self._process, self._lock = None, threading.Lock()


def _seconds_until(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())  # 0 would make the socket non-blocking
