from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120  # seconds: a longer wait is a hang, on a slow computer too


def eventually(
    condition: Callable[[], object], *, seconds: float = PATIENCE, pause: float = 0.05
) -> bool:
    """Return whether the condition becomes true within ``seconds``. Check it every ``pause``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
