"""Shorten the pauses in which a garbage collection or a long computation stops all threads."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.001  # until a thread that computes lets another one continue


def shorten_pauses() -> None:
    """Exclude the objects that are loaded by now from garbage collections, each of which would stop
    all threads for a quarter of a second. Let threads that answer interrupt those that compute.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_SECONDS)
