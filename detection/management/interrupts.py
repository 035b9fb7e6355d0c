"""Treat Ctrl-C and SIGTERM as requests to stop, which a long run follows when it can."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "\nStopping after the current images; a second signal stops at once.\n"


class StopSignals:
    """Store the first signal of the block in ``received``; raise KeyboardInterrupt at the second.

    After ``ignore``, signals do nothing, so that nothing interrupts the clean-up.
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
        os.write(sys.__stderr__.fileno(), NOTICE.encode())  # not print: one may be in progress


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM too, while the block runs."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
