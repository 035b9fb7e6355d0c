"""What glibc does with freed memory. Elsewhere there is nothing to be done, and nothing happens."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
INFERENCE = {_M_MMAP_THRESHOLD: 32 * 2**20, _M_TRIM_THRESHOLD: 256 * 2**20}
TRAINING = {_M_MMAP_THRESHOLD: 2**31 - 1, _M_TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory(limits: dict[int, int]) -> None:
    """Have glibc keep blocks for the next pass instead of giving each back to the system.

    On a CPU much of the time goes into page faults otherwise. For INFERENCE, pictures larger than
    32 MiB are still given back, and so is what is free beyond 256 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, limit in limits.items():
            mallopt(parameter, limit)
