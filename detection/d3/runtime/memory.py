"""Tell glibc to reuse freed memory. With another C library the functions do nothing."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
INFERENCE = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 256 * 2**20}
TRAINING = {_M_MMAP_THRESHOLD: 2**31 - 1, _M_TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory(limits: dict[int, int]) -> None:
    """Make glibc keep freed blocks for the next pass instead of releasing each to the system.

    On a CPU, page faults otherwise take much of the time. INFERENCE still releases pictures larger
    than 32 MiB, and free memory beyond 256 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, limit in limits.items():
            mallopt(parameter, limit)
