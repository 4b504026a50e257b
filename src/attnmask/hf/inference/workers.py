"""Run batches in parallel on the cores of a CPU, each with one torch thread.

One batch per core is faster than one batch on all cores, whose threads wait for each other in every operation.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import torch

_lock = Lock()
# The number of open pools, and torch's thread count before the first of them opened.
_pools_open = 0
_thread_count = 1


@contextmanager
def single_threaded_workers(most: int) -> Generator[ThreadPoolExecutor]:
    """Open a pool of as many workers as torch has threads, each of which uses one torch thread.

    Args:
        most: maximum number of workers.
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
    # Setting 1 thread in a worker also changes the default of every new thread, so the old count must be set again.
    torch.set_num_threads(threads)
