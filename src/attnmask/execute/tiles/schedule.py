"""Runs -> the calls of a dense attention kernel that compute exactly those pairs, and as few others as possible.

Rows are cut into blocks where the set changes its shape: a stretch of rows that see the same keys needs no mask, a
triangle is the kernel's own causal case, and only what is left is cut into tiles, of which the empty parts are
skipped and the full parts run without a mask. Calls of one shape form a group and run as one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from attnmask.compiler.algebra import sweep_steps
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Int64, Runs
from attnmask.conventions import BoolArray
from attnmask.errors import ArgumentError
from attnmask.mask.tables.lookup_tables import int32_from

TILE_ROWS = 128
LEAST_CONSTANT_ROWS = 16
LEAST_BLOCK_ROWS = 8
LEAST_FULL_KEYS = 64
MOST_MASKED_KEYS = 4096
MOST_CONSTANT_RUNS = 4


class Kind(Enum):
    """What a call computes of its rows x keys rectangle."""

    FULL = "every pair"
    CAUSAL = "the lower triangle of a square"
    MASKED = "the pairs of the set"


@dataclass(frozen=True)
class Call:
    """One rectangle of rows from ``row`` and keys from ``key``."""

    kind: Kind
    row: int
    height: int
    key: int
    width: int


@dataclass(frozen=True)
class Group:
    """Calls of one size and kind; MASKED calls of a group have the same pairs relative to their corner.

    Attributes:
        kind: what is computed. height, width: rows and keys of each call.
        rows, keys: int64 (calls,), the corners.
    """

    kind: Kind
    height: int
    width: int
    rows: Int64
    keys: Int64


@dataclass(frozen=True)
class Schedule:
    """The groups that compute a set.

    Attributes:
        runs: the set, of shape (1, 1, rows): batch items and heads that it depends on are laid end to end.
        groups: what to run. disjoint: whether no row is in two calls, so that no results need merging.
    """

    runs: Runs
    groups: tuple[Group, ...]
    disjoint: bool

    def pairs_of(self, group: Group) -> BoolArray:
        """The pairs of a MASKED group's calls, bool (height, width)."""
        return block_from_runs(self.runs, int(group.rows[0]), group.height, int(group.keys[0]), group.width)


@lru_cache(maxsize=32)
def schedule_from_plan(plan: Plan) -> Schedule:
    """The schedule of a plan; kept for the last few plans, since every layer of a model asks for the same."""
    return schedule_from_runs(flat_runs(plan.runs))


def flat_runs(runs: Runs) -> Runs:
    """The same set with items and heads laid end to end: row and key blocks on a diagonal."""
    b, h, q = runs.shape
    if b * h * max(q, runs.keys) > np.iinfo(np.int32).max:
        raise ArgumentError(
            f"{b} items of {h} heads are {b * h * max(q, runs.keys)} positions end to end, more than 2**31 - 1",
            where="attention",
            fix="run fewer items or heads at once",
        )
    item = runs.row_of_run // max(q, 1)
    starts, stops = runs.starts + item * runs.keys, runs.stops + item * runs.keys
    return Runs((1, 1, b * h * q), b * h * runs.keys, runs.indptr, int32_from(starts), int32_from(stops))


def schedule_from_runs(runs: Runs) -> Schedule:
    """Cut a set of shape (1, 1, rows) into groups of calls."""
    collected: dict[tuple[Kind, int, int, bytes, int], list[Call]] = defaultdict(list)
    calls_per_row = np.zeros(runs.rows + 1, dtype=np.int64)
    for first, last in _blocks(runs):
        for call in _calls(runs, first, last):
            pattern = _pattern(runs, call) if call.kind is Kind.MASKED else b""
            # Calls of one block share rows, so they must not run in one batch: each keeps its number.
            number = int(calls_per_row[call.row])
            collected[call.kind, call.height, call.width, pattern, number].append(call)
            calls_per_row[call.row] += 1
    groups = tuple(
        Group(calls[0].kind, calls[0].height, calls[0].width, *np.array([(c.row, c.key) for c in calls]).T)
        for calls in collected.values()
    )
    return Schedule(runs, groups, disjoint=bool((calls_per_row <= 1).all()))


def block_from_runs(runs: Runs, row: int, height: int, key: int, width: int) -> BoolArray:
    """The pairs of one rectangle, bool (height, width)."""
    own = slice(runs.indptr[row], runs.indptr[row + height])
    starts = np.clip(runs.starts[own] - key, 0, width)
    stops = np.clip(runs.stops[own] - key, 0, width)
    line = np.repeat(np.arange(height), runs.counts[row : row + height])
    edges = np.zeros((height, width + 1), dtype=np.int8)
    np.add.at(edges, (line, starts), 1)
    np.add.at(edges, (line, stops), -1)
    return np.cumsum(edges, axis=1, dtype=np.int8)[:, :-1].astype(bool)


def _calls(runs: Runs, first: int, last: int) -> Iterator[Call]:
    """The calls of one block of rows; every one of them has rows from the start of the block or of a tile of it."""
    own = slice(runs.indptr[first], runs.indptr[first + 1])
    starts, stops = runs.starts[own].tolist(), runs.stops[own].tolist()
    if len(starts) <= MOST_CONSTANT_RUNS and _is_constant(runs, first, last):
        for start, stop in zip(starts, stops, strict=True):
            yield Call(Kind.FULL, first, last - first, start, stop - start)
    elif _is_growing(runs, first, last):
        yield from _triangle(first, last, starts[0], stops[0])
    else:
        for row in range(first, last, TILE_ROWS):
            yield from _tile(runs, row, min(row + TILE_ROWS, last))


def _blocks(runs: Runs) -> list[tuple[int, int]]:
    """Row ranges that begin where the set changes its shape; ranges of empty rows are left out."""
    if not runs.rows:
        return []
    fresh = _differs_from_previous(runs)
    edges = np.append(np.flatnonzero(fresh), runs.rows)
    long = np.diff(edges) >= LEAST_CONSTANT_ROWS
    cut = np.zeros(runs.rows + 1, dtype=bool)
    cut[edges[:-1][long]] = cut[edges[1:][long]] = True
    cut[:-1] |= _apart_from_previous(runs)
    cut[0] = cut[-1] = True
    at = np.flatnonzero(cut)
    keep = runs.counts[at[:-1]] > 0
    return _joined(zip(at[:-1][keep].tolist(), at[1:][keep].tolist(), strict=True))


def _joined(blocks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring blocks of very few rows joined into one, since a call costs more than a few masked pairs."""
    joined: list[tuple[int, int]] = []
    may_grow = False
    for first, last in blocks:
        small = last - first < LEAST_BLOCK_ROWS
        if small and joined and joined[-1][1] == first and first - joined[-1][0] < TILE_ROWS and may_grow:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
            may_grow = small
    return joined


def _differs_from_previous(runs: Runs) -> BoolArray:
    """Whether a row's runs differ from those of the row before; True of row 0."""
    counts = runs.counts
    differs = np.append(True, counts[1:] != counts[:-1])
    row = runs.row_of_run
    compared = np.flatnonzero(~differs[row])
    before = compared - counts[row[compared]]
    unequal = (runs.starts[compared] != runs.starts[before]) | (runs.stops[compared] != runs.stops[before])
    differs[row[compared[unequal]]] = True
    return differs


def _apart_from_previous(runs: Runs) -> BoolArray:
    """Whether a row's keys lie wholly outside the span of the row before's, or one of the two has none."""
    has = runs.counts > 0
    low, high = np.zeros(runs.rows, np.int64), np.zeros(runs.rows, np.int64)
    low[has], high[has] = runs.starts[runs.indptr[:-1][has]], runs.stops[runs.indptr[1:][has] - 1]
    apart = (low[1:] >= high[:-1]) | (high[1:] <= low[:-1]) | (has[1:] != has[:-1])
    return np.append(True, apart & (has[1:] | has[:-1]))


def _is_constant(runs: Runs, first: int, last: int) -> bool:
    own = runs.counts[first:last]
    if (own != own[0]).any():
        return False
    span = slice(runs.indptr[first], runs.indptr[last])
    starts, stops = runs.starts[span].reshape(last - first, -1), runs.stops[span].reshape(last - first, -1)
    return bool((starts == starts[0]).all() and (stops == stops[0]).all())


def _is_growing(runs: Runs, first: int, last: int) -> bool:
    """Whether each row sees one run, from the same start, one key longer than the row before."""
    if (runs.counts[first:last] != 1).any():
        return False
    span = slice(runs.indptr[first], runs.indptr[last])
    starts, stops = runs.starts[span], runs.stops[span]
    return bool((starts == starts[0]).all() and (np.diff(stops) == 1).all())


def _triangle(first: int, last: int, start: int, stop: int) -> Iterator[Call]:
    """Rows that see [start, stop), [start, stop + 1), ...: a full rectangle, then a triangle."""
    height = last - first
    if stop - 1 > start:
        yield Call(Kind.FULL, first, height, start, stop - 1 - start)
    yield Call(Kind.CAUSAL, first, height, stop - 1, height)


def _tile(runs: Runs, first: int, last: int) -> Iterator[Call]:
    """The calls of one tile of rows: its full parts without a mask, the rest of what it touches with one."""
    height, span = last - first, slice(runs.indptr[first], runs.indptr[last])
    position = np.concatenate([runs.starts[span], runs.stops[span]]).astype(np.int64)
    step = np.repeat([1, -1], span.stop - span.start)
    order = np.argsort(position, kind="stable")
    position, step = position[order], step[order]
    touched = sweep_steps(position, step, lambda depth: depth > 0)
    full = sweep_steps(position, step, lambda depth: depth == height).reshape(-1, 2)
    full = full[full[:, 1] - full[:, 0] >= LEAST_FULL_KEYS]
    for start, stop in full.tolist():
        yield Call(Kind.FULL, first, height, start, stop - start)
    # The full parts lie inside the touched ones, so the edges of both, sorted, are those of the rest.
    rest = np.sort(np.concatenate([touched, full.reshape(-1)])).reshape(-1, 2)
    for start, stop in rest[rest[:, 1] > rest[:, 0]].tolist():
        for key in range(start, stop, MOST_MASKED_KEYS):
            yield Call(Kind.MASKED, first, height, key, min(key + MOST_MASKED_KEYS, stop) - key)


def _pattern(runs: Runs, call: Call) -> bytes:
    return np.packbits(block_from_runs(runs, call.row, call.height, call.key, call.width)).tobytes()
