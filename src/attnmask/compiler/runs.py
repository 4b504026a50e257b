"""Runs: the canonical form of a set of (query, key) pairs.

Per query row the sorted, disjoint, non-touching half-open runs of keys, in compressed rows. Two masks are equal
on a domain iff their Runs are equal; the number of pairs is the sum of the run lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.expression import Bounds
from attnmask.mask.tables.lookup_tables import (
    check_row_count,
    check_run_count,
    int32_from,
    ragged_indices,
    runs_of_rows,
)

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Shape = tuple[int, int, int]
# As bools they are 4 GiB.
MOST_PAIRS = 2**32


@dataclass(frozen=True, eq=False)
class Runs:
    """Key runs of every query row.

    Attributes:
        shape: (B, H, Q) of the rows; B or H is 1 where the set does not depend on it.
        keys: number of keys K.
        indptr: int32 (B * H * Q + 1,); row r, counted in the order b, h, q, owns runs indptr[r] to indptr[r + 1].
        starts, stops: int32, the runs.
    """

    shape: Shape
    keys: int
    indptr: Int32
    starts: Int32
    stops: Int32

    def __post_init__(self) -> None:
        for array in (self.indptr, self.starts, self.stops):
            array.flags.writeable = False

    def __reduce__(self) -> tuple[type[Runs], tuple[Shape, int, Int32, Int32, Int32]]:
        # Through the constructor, so that what is unpickled is read-only too and carries no cached values.
        return Runs, (self.shape, self.keys, self.indptr, self.starts, self.stops)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Runs)
            and (self.shape, self.keys) == (other.shape, other.keys)
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.stops, other.stops)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.keys, self.starts.tobytes(), self.stops.tobytes()))

    @cached_property
    def found(self) -> dict[Any, Any]:
        """What functions of ``compiler/structure`` found the set to be; they fill it, see ``remembered``."""
        return {}

    @property
    def rows(self) -> int:
        """Number of query rows over all items and heads."""
        return len(self.indptr) - 1

    @cached_property
    def counts(self) -> Int32:
        """Runs of each row, int32 (rows,)."""
        return np.diff(self.indptr)

    @cached_property
    def row_of_run(self) -> Int64:
        """The row that owns each run."""
        return np.repeat(np.arange(self.rows), self.counts)

    @property
    def item_of_run(self) -> Int64:
        """The batch item of each run."""
        b, h, q = self.shape
        if b == 1:
            return np.broadcast_to(np.int64(0), self.starts.shape)
        return np.repeat(np.arange(b), np.diff(self.indptr[np.arange(b + 1) * h * q]))

    @property
    def one_per_row(self) -> bool:
        """Whether no row has more than one run."""
        return bool(self.rows == 0 or self.counts.max() <= 1)

    @property
    def pairs(self) -> int:
        """Number of pairs in the set."""
        return int(self.stops.sum(dtype=np.int64) - self.starts.sum(dtype=np.int64))

    def single(self) -> tuple[Int32, Int32]:
        """Start and stop of the only run of each row, 0 and 0 for a row without one."""
        if len(self.starts) == self.rows:
            return self.starts, self.stops
        starts, stops = np.zeros(self.rows, np.int32), np.zeros(self.rows, np.int32)
        starts[self.row_of_run], stops[self.row_of_run] = self.starts, self.stops
        return starts, stops

    @cached_property
    def changes(self) -> NDArray[np.int64]:
        """The rows, ascending, whose runs are not those of the row before, of the same item and head; int64."""
        of_row = self.row_of_run
        differs = np.ones(self.rows, dtype=bool)
        differs[1:] = self.counts[1:] != self.counts[:-1]
        differs[:: max(self.shape[2], 1)] = True
        alike = np.flatnonzero(~differs[of_row])
        before = alike - self.counts[of_row[alike]]
        moved = (self.starts[alike] != self.starts[before]) | (self.stops[alike] != self.stops[before])
        differs[of_row[alike[moved]]] = True
        return np.flatnonzero(differs)

    @cached_property
    def keys_seen(self) -> BoolArray:
        """Whether some row of an item, in some head, attends to a key, (B, K).

        Raises:
            ArgumentError: there are more keys than any memory should be filled with.
        """
        b = self.shape[0]
        check_row_count(b * (self.keys + 1), f"too many keys to look at each, B={b}, K={self.keys}", "plan")
        line = self.item_of_run * (self.keys + 1)
        depth = np.bincount(line + self.starts, minlength=b * (self.keys + 1))
        depth -= np.bincount(line + self.stops, minlength=b * (self.keys + 1))
        return np.cumsum(depth, out=depth).reshape(b, self.keys + 1)[:, :-1] > 0

    def take(self, rows: IntArray, shape: Shape) -> Runs:
        """The runs of the given rows, in that order, as Runs of another shape."""
        counts = self.counts[rows]
        at = ragged_indices(self.indptr[rows].astype(np.int64), counts)
        return runs_from_counts(shape, self.keys, counts, self.starts[at], self.stops[at])

    def of_queries(self, queries: IntArray) -> Runs:
        """The same items and heads with some of their query rows, ascending."""
        b, h, q = self.shape
        if len(queries) == q:
            return self
        return self.take((np.arange(b * h)[:, None] * q + queries).reshape(-1), (b, h, len(queries)))

    def between(self, first: int, last: int) -> Runs:
        """The consecutive rows from ``first`` to before ``last``, as Runs of shape (1, 1, last - first)."""
        begin, end = int(self.indptr[first]), int(self.indptr[last])
        indptr = self.indptr[first : last + 1] - self.indptr[first]
        return Runs((1, 1, last - first), self.keys, indptr, self.starts[begin:end], self.stops[begin:end])

    def broadcast_to(self, shape: Shape) -> Runs:
        """The same set with items and heads written out."""
        if shape == self.shape:
            return self
        rows = np.arange(self.rows).reshape(self.shape)
        return self.take(np.broadcast_to(rows, shape).reshape(-1), shape)

    def collapsed(self) -> Runs:
        """The same set with B and H of 1 where it does not depend on them."""
        runs = self
        for axis in (0, 1):
            runs = _collapse(runs, axis)
        return runs

    def to_dense(self) -> BoolArray:
        """Bool array (B, H, Q, K).

        Raises:
            ArgumentError: it has more than 2**32 elements.
        """
        check_pair_count(self.rows * self.keys)
        edges = np.zeros(self.rows * self.keys + 1, dtype=np.int8)
        edges[self.row_of_run * self.keys + self.starts] = 1
        edges[self.row_of_run * self.keys + self.stops] -= 1
        np.cumsum(edges, dtype=np.int8, out=edges)
        return edges[:-1].view(bool).reshape(*self.shape, self.keys)


def check_pair_count(count: int) -> None:
    """Raise where an element for every pair would fill the memory."""
    if count > MOST_PAIRS:
        raise ArgumentError(
            f"there are {count:,} pairs to write out",
            where="one element for every pair",
            fix=f"write out no more than {MOST_PAIRS:,}; the command `attnmask formats` shows forms that take fewer",
        )


def runs_from_counts(shape: Shape, keys: int, counts: IntArray | BoolArray, starts: IntArray, stops: IntArray) -> Runs:
    """Runs from canonical rows: counts per row, and flat starts and stops."""
    check_run_count(len(starts))  # the counts add up to it, so that they fit into int32
    indptr = np.zeros(counts.size + 1, dtype=np.int32)
    np.cumsum(counts.reshape(-1), out=indptr[1:])
    return Runs(shape, keys, indptr, int32_from(starts), int32_from(stops))


def runs_from_single(shape: Shape, keys: int, starts: IntArray, stops: IntArray) -> Runs:
    """Runs of at most one run a row; starts and stops broadcast to ``shape``, empty where stop <= start."""
    return _runs_from_clipped(shape, keys, _clip_keys(starts, keys), _clip_keys(stops, keys))


def runs_from_singles(parts: Sequence[Bounds], queries: int, keys: int) -> Runs:
    """Runs of the pairs that are in every part; each is of ``clip_bounds``, and is written over."""
    starts = _combined(np.maximum, [part.starts for part in parts], neutral=0)
    stops = _combined(np.minimum, [part.stops for part in parts], neutral=keys)
    b, h, _ = np.broadcast_shapes(*(part.shape for part in parts))
    return _runs_from_clipped((b, h, queries), keys, starts, stops)


def _combined(extreme: np.ufunc, bounds: Sequence[IntArray], neutral: int) -> IntArray:
    """The extreme of arrays that broadcast, in the memory of the largest: a new array costs more than the work."""
    effective = [bound for bound in bounds if bound.size != 1 or bound.item() != neutral] or list(bounds[:1])
    whole = np.broadcast_shapes(*(bound.shape for bound in effective))
    at = int(np.argmax([bound.size for bound in effective]))
    largest = effective.pop(at)
    combined = largest if largest.shape == whole else np.broadcast_to(largest, whole).copy()
    for bound in effective:
        extreme(combined, bound, out=combined)
    return combined


def _runs_from_clipped(shape: Shape, keys: int, starts: IntArray, stops: IntArray) -> Runs:
    starts, stops = (np.broadcast_to(bound, shape).reshape(-1) for bound in (starts, stops))
    has_run = stops > starts
    if has_run.all():
        indptr = np.arange(has_run.size + 1, dtype=np.int32)
        return Runs(shape, keys, indptr, *(bound.astype(np.int32, copy=False) for bound in (starts, stops)))
    return runs_from_counts(shape, keys, has_run, starts[has_run], stops[has_run])


def clip_bounds(bounds: Bounds, keys: int) -> Bounds:
    """Bounds of one run a row that keep to the keys, on three axes and in half the memory."""
    return Bounds(bounds.shape, _clip_keys(bounds.starts, keys), _clip_keys(bounds.stops, keys))


def _clip_keys(bound: IntArray, keys: int) -> Int32:
    clipped = np.clip(bound, 0, keys).astype(np.int32, copy=False)
    return clipped.reshape((1,) * (3 - clipped.ndim) + clipped.shape)


def runs_from_bounds(bounds: Bounds, queries: int, keys: int) -> Runs:
    """Runs of what an atom says of its rows, with the query axis written out."""
    shape = (*bounds.shape[:2], queries)
    if bounds.counts is None:
        return runs_from_single(shape, keys, bounds.starts, bounds.stops)
    # In the atom's own int64, since what reaches beyond the keys may not fit into int32.
    starts, stops = np.clip(bounds.starts, 0, keys), np.clip(bounds.stops, 0, keys)
    runs = runs_from_flat(bounds.shape, keys, bounds.counts, starts, stops)
    return runs.broadcast_to(shape)


def runs_of_heads(parts: Sequence[Runs]) -> Runs:
    """Runs whose head h is that of ``parts[h]``."""
    (b, q), heads = (max(part.shape[axis] for part in parts) for axis in (0, 2)), len(parts)
    own = [_head_of(part, head).broadcast_to((b, 1, q)) for head, part in enumerate(parts)]
    counts, starts, stops = (
        np.concatenate([getattr(one, name) for one in own]) for name in ("counts", "starts", "stops")
    )
    by_head = runs_from_counts((heads, b, q), parts[0].keys, counts, starts, stops)
    rows = np.arange(by_head.rows).reshape(by_head.shape).transpose(1, 0, 2)
    return by_head.take(rows.reshape(-1), (b, heads, q))


def runs_of_queries(parts: Sequence[Runs]) -> Runs:
    """Runs whose query rows are those of the parts, one part after the other."""
    b, h, _ = parts[0].shape
    counts, starts, stops = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("counts", "starts", "stops")
    )
    one_below_another = runs_from_counts((1, 1, len(counts)), parts[0].keys, counts, starts, stops)
    if b * h == 1:
        return one_below_another
    before = np.cumsum([0, *(part.rows for part in parts)])
    rows = [first + np.arange(part.rows).reshape(b * h, -1) for first, part in zip(before, parts, strict=False)]
    row = np.concatenate(rows, axis=1).reshape(-1)
    return one_below_another.take(row, (b, h, len(row) // (b * h)))


def _head_of(runs: Runs, head: int) -> Runs:
    b, h, q = runs.shape
    rows = np.arange(runs.rows).reshape(runs.shape)[:, head if h > 1 else 0]
    return runs.take(rows.reshape(-1), (b, 1, q))


def runs_from_flat(shape: Shape, keys: int, counts: IntArray, starts: IntArray, stops: IntArray) -> Runs:
    """Runs from rows of runs in order, of which some may be empty."""
    keep = stops > starts
    if keep.all():
        return runs_from_counts(shape, keys, counts, starts, stops)
    kept = np.append(0, np.cumsum(keep))[np.append(0, np.cumsum(counts.reshape(-1), dtype=np.int64))]
    return runs_from_counts(shape, keys, np.diff(kept), starts[keep], stops[keep])


def runs_from_dense(array: BoolArray) -> Runs:
    """Runs of a bool array (B, H, Q, K)."""
    counts, starts, stops = runs_of_rows(array)
    return runs_from_counts((array.shape[0], array.shape[1], array.shape[2]), array.shape[3], counts, starts, stops)


def _collapse(runs: Runs, axis: int) -> Runs:
    if runs.shape[axis] == 1:
        return runs
    if axis == 1 and runs.shape[0] > 1:
        return _collapse_inner(runs)
    # Items of the first axis that is not 1 lie one after the other: they are compared as they are.
    counts = runs.counts.reshape(runs.shape[axis], -1)
    if (counts != counts[0]).any():
        return runs
    starts, stops = (bound.reshape(len(counts), -1) for bound in (runs.starts, runs.stops))
    if (starts != starts[0]).any() or (stops != stops[0]).any():
        return runs
    shape = (1, runs.shape[1], runs.shape[2]) if axis == 0 else (1, 1, runs.shape[2])
    return runs_from_counts(shape, runs.keys, counts[0], starts[0], stops[0])


def _collapse_inner(runs: Runs) -> Runs:
    """Heads, where there are several items: each item has its own."""
    b, h, q = runs.shape
    first = np.arange(runs.rows).reshape(runs.shape)[:, 0]
    candidate = runs.take(first.reshape(-1), (b, 1, q))
    if len(candidate.starts) * h != len(runs.starts):
        return runs
    return candidate if candidate.broadcast_to(runs.shape) == runs else runs
