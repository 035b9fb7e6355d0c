"""Ctrl-C and SIGTERM as a request that a long run can follow at a moment of its choice."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "\nStopping after the images at hand; once more stops at once.\n"


class StopSignals:
    """While the block runs, the first signal is kept in ``received``, the next one raises
    KeyboardInterrupt. After ``ignore`` none does anything: nothing may break into the cleaning up.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> StopSignals:
        self._before = {each: signal.signal(each, self._receive) for each in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)

    def ignore(self) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    def _receive(self, number: int, frame: object) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number
        os.write(sys.__stderr__.fileno(), NOTICE.encode())  # print may be in the middle of a line


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """While the block runs, SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
