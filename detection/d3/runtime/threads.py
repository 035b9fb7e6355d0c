"""Threads that compute on one core each, for passes that are too small to share out among cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread

import torch


def one_core_threads() -> ThreadPoolExecutor:
    """As many as PyTorch uses cores. None is started before it is needed."""
    return ThreadPoolExecutor(torch.get_num_threads(), "inference", _compute_on_one_core)


_changing = Lock()


def _compute_on_one_core() -> None:
    """PyTorch keeps a number for each thread that has computed, and one for those to come."""
    with _changing:
        cores = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = Thread(target=torch.set_num_threads, args=(cores,))
        restoring.start()
        restoring.join()
