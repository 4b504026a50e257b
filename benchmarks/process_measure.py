"""Time and peak memory of one job, in a process of its own.

A job is a module-level function that prepares what it needs and returns what is to be timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

# The largest that glibc's threshold can grow to is 32 MiB.
HELD = 31 * 2**20
# A job of a millisecond is timed for so long: five rounds of it may all fall into one disturbance.
LEAST_SECONDS = 0.5
Job = Callable[..., Callable[[], Any]]


@dataclass(frozen=True)
class Measured:
    """One job's figures.

    Attributes:
        seconds: median of the rounds after one that warmed it up.
        peak: bytes that the process held at its highest above what it held before.
        answer: what the job returned, if that is a number.
    """

    seconds: float
    peak: int
    answer: float | None


def measure(job: Job, *arguments: Any, rounds: int = 5) -> Measured | None:
    """Run a job in a fresh process; None where it was killed for memory or found no memory.

    Args:
        job: a module-level function. arguments: its own, as JSON can write them. rounds: timed runs, at least.
    """
    spec = sys.modules[job.__module__].__spec__  # under python -m the module is __main__, and has its name here
    module = spec.name if spec else job.__module__
    command = [
        sys.executable,
        "-m",
        "benchmarks.process_measure",
        module,
        job.__name__,
        json.dumps(arguments),
        str(rounds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Measured(**json.loads(done.stdout.splitlines()[-1]))
    if done.returncode == -9 or "allocate memory" in done.stderr or "MemoryError" in done.stderr:
        return None
    raise RuntimeError(f"{job.__name__}{arguments} failed:\n{done.stderr}")


def _run(prepare: Job, arguments: list[Any], rounds: int) -> Measured:
    job = prepare(*arguments)
    _hold_freed_memory()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    answer = job()
    seconds: list[float] = []
    while len(seconds) < rounds or sum(seconds) < LEAST_SECONDS:
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return Measured(statistics.median(seconds), _memory("VmHWM") - before, _number(answer))


def _hold_freed_memory() -> None:
    """Bring glibc to where any process is that once freed a large tensor: it keeps what is freed.

    Until then it gives every freed megabyte back to the kernel, and page faults, ours and the peer's, are measured.
    The array is not touched, so that it takes no memory.
    """
    np.empty(HELD, dtype=np.uint8)


def _number(answer: Any) -> float | None:
    return float(answer) if isinstance(answer, int | float) else None


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"/proc/self/status names no {name}"
    return int(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one job and print its figures as JSON.")
    for name in ("module", "job", "arguments", "rounds"):
        parser.add_argument(name)
    given = parser.parse_args()
    prepare = getattr(importlib.import_module(given.module), given.job)
    print(json.dumps(asdict(_run(prepare, json.loads(given.arguments), int(given.rounds)))))


if __name__ == "__main__":
    main()
