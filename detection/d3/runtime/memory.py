"""Let glibc reuse freed memory. With another C library nothing changes."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
INFERENCE = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 256 * 2**20}
TRAINING = {_M_MMAP_THRESHOLD: 2**31 - 1, _M_TRIM_THRESHOLD: 2**31 - 1}


def reuse_freed_memory(limits: dict[int, int]) -> None:
    """Make glibc reuse freed blocks in the next pass instead of releasing each to the system.

    ``limits`` are INFERENCE or TRAINING. Without them a CPU spends much of its time on page faults.
    INFERENCE still releases blocks larger than 32 MiB, such as those of large pictures, and free
    memory beyond 256 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, limit in limits.items():
            mallopt(parameter, limit)
