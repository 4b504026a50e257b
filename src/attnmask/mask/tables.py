"""Look-ups in per-item and per-position tables, and the runs of such tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError

# A row of single keys has as many runs as keys: without a limit a short expression would fill any memory.
MOST = 2**28
# Each takes some 50 bytes while a mask is compiled.
MOST_ROWS = 2**27
Flat = tuple[IntArray, IntArray, IntArray]


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
        own = int32_from(np.stack([begins, ends]) * (row[begins] >= 0))
        bounds.append(at_positions(np.repeat(own, ends - begins, axis=1), first, count, outside=0))
    starts, stops = np.stack(bounds, axis=1)[:, :, None]
    return starts, stops


def _stretches(ids: IntArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of equal ids begin and end."""
    begins = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])[: len(ids)])
    return begins, np.append(begins[1:], len(ids))[: len(begins)]


def at_positions(table: NDArray[Any], first: int, count: int, outside: int) -> NDArray[Any]:
    """``table[..., first : first + count]``, and ``outside`` for positions that the table does not reach."""
    length = table.shape[-1]
    if first == 0 and count == length:
        return table
    before, after = np.clip([-first, first + count - length], 0, count)
    inside = table[..., max(first, 0) : max(first + count, 0)]
    return np.pad(inside, [(0, 0)] * (table.ndim - 1) + [(before, after)], constant_values=outside)


def stretches_by_id(ids: IntArray) -> tuple[NDArray[np.int64], Flat]:
    """The same where ids come back.

    Args:
        ids: shape (S,).

    Returns:
        The number of the id of each position, -1 for a negative id; and of each id how many stretches it has, then
        where they begin and end, id after id.
    """
    begins, ends = _stretches(ids)
    names, name = np.unique(ids[begins], return_inverse=True)
    own = np.repeat(np.where(ids[begins] >= 0, name, -1), ends - begins)
    order = np.argsort(name, kind="stable")
    return own, (np.bincount(name, minlength=len(names)), begins[order], ends[order])


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


def int32_from(values: IntArray) -> NDArray[np.int32]:
    """The values as int32.

    Raises:
        ArgumentError: one of them does not fit.

    >>> int32_from(np.array([1, 2]))
    array([1, 2], dtype=int32)
    """
    limits = np.iinfo(np.int32)
    fits = values.dtype == np.int32 or not values.size or limits.min <= values.min() <= values.max() <= limits.max
    if not fits:
        largest = values.max() if values.max() > limits.max else values.min()
        raise ArgumentError(
            f"a position is {largest:,}", where="compile", fix="positions and counts of one axis stay below 2**31"
        )
    return values.astype(np.int32, copy=False)


def check_row_count(count: int, what: str, where: str) -> None:
    """Raise where there are more rows, or positions, than any memory should be filled with."""
    if count > MOST_ROWS:
        raise ArgumentError(f"{what}: {count:,} in all", where=where, fix=f"stay within {MOST_ROWS:,}")


def check_run_count(count: int) -> None:
    """Raise where a set would have more runs of keys than any memory should be filled with."""
    if count > MOST:
        raise ArgumentError(
            f"the set has {count:,} runs of keys, or more",
            where="compile",
            fix=f"stay below {MOST:,}: narrow the mask, as dilated(2) & window(left=1023, right=0) does",
        )
