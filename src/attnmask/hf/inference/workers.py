"""Batches side by side on the cores of a CPU, each on one thread of torch's.

Two batches, a core each, wait for each other less than the two halves of one batch do.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
_pools = 0
_found = 1


@contextmanager
def single_threads(most: int) -> Generator[ThreadPoolExecutor]:
    """A pool of as many workers as torch has threads, in each of which torch has one.

    Args:
        most: workers that are of use.
    """
    threads = _enter()
    workers = ThreadPoolExecutor(min(threads, most), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        _leave(threads)


def _enter() -> int:
    global _pools, _found
    with _lock:
        if not _pools:
            _found = torch.get_num_threads()
        _pools += 1
        return _found


def _leave(threads: int) -> None:
    global _pools
    with _lock:
        _pools -= 1
    # A worker's 1 is also what threads that are new to torch begin with, and would find for ever.
    torch.set_num_threads(threads)
