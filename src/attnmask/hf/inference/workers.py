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
_pools_open = 0
_thread_count = 1


@contextmanager
def single_threaded_workers(most: int) -> Generator[ThreadPoolExecutor]:
    """A pool of as many workers as torch has threads, in each of which torch has one.

    Args:
        most: workers that are of use.
    """
    threads = _use_thread_count()
    workers = ThreadPoolExecutor(min(threads, most), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        _restore_thread_count(threads)


def _use_thread_count() -> int:
    global _pools_open, _thread_count
    with _lock:
        if not _pools_open:
            _thread_count = torch.get_num_threads()
        _pools_open += 1
        return _thread_count


def _restore_thread_count(threads: int) -> None:
    global _pools_open
    with _lock:
        _pools_open -= 1
    # A worker's 1 is also what threads that are new to torch begin with, and would find for ever.
    torch.set_num_threads(threads)
