"""Run a function in several threads at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection


def at_once(action: Callable, *arguments: Sequence) -> list:
    """Call ``action`` for each item in a thread of its own, all at the same moment. Return the
    results.
    """
    start = Barrier(len(arguments[0]))

    def run(*each):
        start.wait()
        try:
            return action(*each)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(arguments[0])) as threads:
        return list(threads.map(run, *arguments))
