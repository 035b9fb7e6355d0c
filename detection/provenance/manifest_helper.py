"""A process that reads C2PA manifests: hostile bytes can end it, and nothing else.

It is started with the first manifest, never by a fork of this process, and again after a failure.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("manifest_reader.py")
_LENGTH = struct.Struct(">Q")
_MAX_ANSWER = 2**24  # bytes
_PIECE = 2**20  # bytes


class UnreadableManifestError(Exception):
    """The manifest cannot be read; the message says why."""


class ManifestHelper:
    """Reads one manifest at a time, for several threads.

    ``anchors`` are certificates in PEM; without them every signer is unknown. A picture takes
    ``seconds`` at most, its helper ``max_memory`` bytes of address space.
    """

    def __init__(self, *, anchors: str = "", seconds: float = 5.0, max_memory: int = 2**30) -> None:
        self.has_anchors = bool(anchors.strip())
        self._anchors = anchors
        self._seconds = seconds
        self._max_memory = max_memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        # A forked process must not share the pipes, nor a lock that another thread held.
        os.register_at_fork(after_in_child=self._forget)

    def read(self, picture: bytes) -> dict[str, Any]:
        """Return the library's report on the manifest. Raises UnreadableManifestError."""
        deadline = time.monotonic() + self._seconds
        if not self._lock.acquire(timeout=self._seconds):
            raise UnreadableManifestError("Other manifests took all the time.")
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
        """End the helper; the next manifest starts it again."""
        with self._lock:
            self._end()

    def _ask(self, picture: bytes, deadline: float) -> dict[str, Any]:
        try:
            process = self._started(deadline)
            _write(process, _LENGTH.pack(len(picture)), deadline)
            _write(process, picture, deadline)
            (size,) = _LENGTH.unpack(_read(process, _LENGTH.size, deadline))
            if size > _MAX_ANSWER:
                raise UnreadableManifestError("The manifest is too large.")
            return json.loads(_read(process, size, deadline))
        except (OSError, ValueError, RecursionError) as error:
            raise UnreadableManifestError(f"The reader failed: {error}") from error

    def _started(self, deadline: float) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={"PATH": os.defpath, "HOME": os.devnull},
            )
            for pipe in (self._process.stdin, self._process.stdout):
                os.set_blocking(pipe.fileno(), False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):  # on Linux: fewer turns for a large picture
                with suppress(OSError):  # more than the system allows
                    fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, _PIECE)
            first = {"anchors": self._anchors, "max_memory": self._max_memory}
            _write(self._process, json.dumps(first).encode() + b"\n", deadline)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def _forget(self) -> None:
        self._process, self._lock = None, threading.Lock()


def _write(process: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
    left = memoryview(data)
    while left:
        _wait_for(process.stdin, selectors.EVENT_WRITE, deadline)
        left = left[process.stdin.write(left[:_PIECE]) or 0 :]


def _read(process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    parts, left = [], size
    while left:
        _wait_for(process.stdout, selectors.EVENT_READ, deadline)
        part = process.stdout.read(min(left, _PIECE))
        if not part:
            raise OSError("it ended.")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _wait_for(pipe: Any, event: int, deadline: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise TimeoutError("it took too long.")
