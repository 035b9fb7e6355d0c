from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120  # seconds: what takes longer hangs, on a slow computer too


def eventually(
    condition: Callable[[], object], *, seconds: float = PATIENCE, pause: float = 0.05
) -> bool:
    """Whether the condition comes true in time; it is asked with pauses, since asking costs too."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
