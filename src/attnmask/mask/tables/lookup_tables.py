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


def look_up(table: NDArray[Any], *indices: IntArray) -> NDArray[Any]:
    """``table[indices]``, where an axis of length 1 answers for every index."""
    if 0 in table.shape:
        return np.zeros(np.broadcast_shapes(*(index.shape for index in indices)), dtype=table.dtype)
    return table[tuple(index * (size > 1) for index, size in zip(indices, table.shape, strict=False))]


def position_in(table: NDArray[Any], b: IntArray, position: IntArray, outside: int | bool) -> NDArray[Any]:
    """``table[b, position]``, and ``outside`` for positions that the table (B, S) does not reach."""
    inside = (position >= 0) & (position < table.shape[1])
    return np.where(inside, look_up(table, b, np.where(inside, position, 0)), outside)


def runs_of_rows(seen: BoolArray) -> Flat:
    """Runs of True along the last axis: counts per row, and flat starts and stops."""
    rows = seen.reshape(int(np.prod(seen.shape[:-1])), seen.shape[-1])
    edges = np.zeros((len(rows), rows.shape[1] + 1), dtype=bool)
    edges[:, :-1] = rows
    edges[:, 1:] ^= rows
    at = np.flatnonzero(edges) % edges.shape[1]
    counts = edges.sum(axis=1).reshape(seen.shape[:-1]) // 2
    return counts, at[0::2], at[1::2]


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
