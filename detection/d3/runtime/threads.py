"""Threads that compute on one core each, for passes that are too small to split among cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread

import torch


def one_core_threads() -> ThreadPoolExecutor:
    """Return a pool of as many threads as PyTorch uses cores; it starts them on demand."""
    return ThreadPoolExecutor(torch.get_num_threads(), "inference", _compute_on_one_core)


_changing = Lock()


def _compute_on_one_core() -> None:
    """Limit this thread to one core.

    PyTorch also stores the number as the default of later threads, so another thread restores the
    old default.
    """
    with _changing:
        cores = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = Thread(target=torch.set_num_threads, args=(cores,))
        restoring.start()
        restoring.join()
