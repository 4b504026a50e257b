"""Look-ups in per-item and per-position tables, and the runs of such tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError

# A row of single keys has as many runs as keys: without a limit a short expression would fill any memory.
MOST = 2**28
Flat = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def item_of(table: NDArray[Any], *indices: IntArray) -> NDArray[Any]:
    """``table[indices]``, where an axis of length 1 answers for every index."""
    if 0 in table.shape:
        return np.zeros(np.broadcast_shapes(*(index.shape for index in indices)), dtype=table.dtype)
    return table[tuple(index * (size > 1) for index, size in zip(indices, table.shape, strict=False))]


def position_in(table: NDArray[Any], b: IntArray, position: IntArray, outside: int | bool) -> NDArray[Any]:
    """``table[b, position]``, and ``outside`` for positions that the table (B, S) does not reach."""
    inside = (position >= 0) & (position < table.shape[1])
    return np.where(inside, item_of(table, b, np.where(inside, position, 0)), outside)


def runs_of_rows(seen: BoolArray) -> Flat:
    """Runs of True along the last axis: counts per row, and flat starts and stops."""
    rows = seen.reshape(int(np.prod(seen.shape[:-1])), seen.shape[-1])
    edges = np.zeros((len(rows), rows.shape[1] + 1), dtype=bool)
    edges[:, :-1] = rows
    edges[:, 1:] ^= rows
    at = np.flatnonzero(edges) % edges.shape[1]
    counts = edges.sum(axis=1).reshape(seen.shape[:-1]) // 2
    return counts, at[0::2], at[1::2]


def runs_of_equal(ids: IntArray, first: int, count: int, low: IntArray, high: IntArray) -> Flat:
    """For each item and position, the runs of positions that carry the same id; none for a negative id.

    Args:
        ids: shape (B, S). first, count: the positions asked for, which may reach outside of S.
        low, high: the range of keys that matters to each, (B, count); runs that lie outside of it are left out.

    Returns:
        Counts of runs (B, 1, count), flat starts, flat stops.
    """
    per_item = [_runs_of_equal(row, first, count, *own) for row, *own in zip(ids, low, high, strict=True)]
    counts = np.stack([counts for counts, _, _ in per_item])[:, None]
    return counts, np.concatenate([s for _, s, _ in per_item]), np.concatenate([s for _, _, s in per_item])


def come_back(ids: IntArray) -> bool:
    """Whether some id, not negative, comes back after another; shape (S,)."""
    begins, _ = _stretches(ids)
    names = np.sort(ids[begins])
    return bool(((names[1:] == names[:-1]) & (names[1:] >= 0)).any())


def run_of_equal(ids: IntArray, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The same where no id comes back: one start and one stop (B, 1, count), both 0 for no run."""
    bounds: list[NDArray[np.int32]] = []
    for row in ids:
        begins, ends = _stretches(row)
        own = (np.stack([begins, ends]) * (row[begins] >= 0)).astype(np.int32)
        bounds.append(_at_positions(np.repeat(own, ends - begins, axis=1), first, count, outside=0))
    starts, stops = np.stack(bounds, axis=1)[:, :, None]
    return starts, stops


def _stretches(ids: IntArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of equal ids begin and end."""
    begins = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: len(ids)])
    return begins, np.append(begins[1:], len(ids))[: len(begins)]


def _at_positions(table: NDArray[Any], first: int, count: int, outside: int) -> NDArray[Any]:
    """``table[..., first : first + count]``, and ``outside`` for positions that the table does not reach."""
    length = table.shape[-1]
    if first == 0 and count == length:
        return table
    before, after = np.clip([-first, first + count - length], 0, count)
    inside = table[..., max(first, 0) : max(first + count, 0)]
    return np.pad(inside, [(0, 0)] * (table.ndim - 1) + [(before, after)], constant_values=outside)


def _runs_of_equal(ids: IntArray, first: int, count: int, low: IntArray, high: IntArray) -> Flat:
    begins, ends = _stretches(ids)
    own = _at_positions(np.repeat(np.arange(len(begins)), ends - begins), first, count, outside=len(begins))
    names, name = np.unique(ids[begins], return_inverse=True)
    slot = np.append(np.where(ids[begins] >= 0, name, len(names)), len(names))[own]
    # All stretches, id after id, on one line: those of an id within a range are neighbours.
    order, apart = np.argsort(name, kind="stable"), len(ids) + 1
    line, begins, ends = name[order] * apart, begins[order], ends[order]
    at = np.searchsorted(line + ends, slot * apart + np.clip(low, 0, len(ids)), side="right")
    after = np.searchsorted(line + begins, slot * apart + np.clip(high, 0, len(ids)), side="left")
    counts = np.maximum(after - at, 0)
    which = ragged_indices(at, counts)
    return counts, begins[which], ends[which]


def ragged_indices(firsts: IntArray, counts: IntArray) -> NDArray[np.int64]:
    """``first, first + 1, ...`` of each group, one group after the other.

    Raises:
        ArgumentError: more than 2**28 in all.

    >>> ragged_indices(np.array([5, 0, 2]), np.array([2, 0, 3]))
    array([5, 6, 2, 3, 4])
    """
    ends = np.cumsum(counts, dtype=np.int64)
    check_run_count(int(ends[-1]) if len(ends) else 0)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(firsts - (ends - counts), counts)


def check_run_count(count: int) -> None:
    """Raise where a set would have more runs of keys than any memory should be filled with."""
    if count > MOST:
        raise ArgumentError(
            f"the set has {count:,} runs of keys, or more",
            where="compile",
            fix=f"stay below {MOST:,}: narrow the mask, as dilated(2) & window(left=1023, right=0) does",
        )
