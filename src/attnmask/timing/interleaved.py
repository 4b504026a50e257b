"""Times of a problem, ours and the peers', interleaved: a slow moment of the machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnmask.timing.problem import Problem
from attnmask.timing.timed_peers import PEERS, Peer, Run, ours

OURS = "attnmask"
LONG = 1.0  # seconds, of which one round says enough about a peer that is
FAR = 4  # times as slow as we are


@dataclass(frozen=True)
class Row:
    """Times of one problem in seconds, by name.

    Attributes:
        forward: of every peer that can express the set. backward: of forward and backward; empty if not asked for.
    """

    forward: dict[str, float]
    backward: dict[str, float]


def compare(
    problem: Problem, peers: Mapping[str, Peer] = PEERS, backward: bool = False, rounds: int = 5, seconds: float = 20.0
) -> Row:
    """Time a problem.

    Args:
        problem: what to compute. peers: what else to run. backward: also time forward and backward together.
        rounds: how often each runs, at most. seconds: after which no new round begins.

    Returns:
        Medians.
    """
    runs: dict[str, Run] = {OURS: ours(problem)}
    for name, peer in peers.items():
        run = peer(problem)
        if run is not None:
            runs[name] = run
    with torch.no_grad():
        forward = medians(runs, rounds, seconds)
    if not backward:
        return Row(forward, {})
    both = {name: _with_backward(problem, run) for name, run in runs.items() if _has_backward(name, problem)}
    return Row(forward, medians(both, rounds, seconds))


def medians(runs: Mapping[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, float]:
    """Median time of each, in rounds in which each runs once, after one that warms up.

    What takes long and is far behind runs in the first round alone.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    began = time.perf_counter()
    while len(times[next(iter(runs))]) < rounds and (time.perf_counter() - began < seconds or not times[OURS]):
        for name, run in runs.items():
            if times[name] and times[name][0] > max(LONG, FAR * times[OURS][0]):
                continue
            start = time.perf_counter()
            run()
            _wait()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _has_backward(name: str, problem: Problem) -> bool:
    return name != "flex" or problem.q.device.type != "cpu"


def _with_backward(problem: Problem, run: Run) -> Callable[[], Any]:
    return lambda: torch.autograd.grad(run(), (problem.q, problem.k, problem.v), problem.grad)
