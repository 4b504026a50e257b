"""A table of rows of key runs that many query rows share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import IntArray
from attnmask.mask.expression import KeyRange
from attnmask.mask.tables.lookup_tables import Flat, ragged_indices

# Rows of more runs than these are worth a look at what other terms leave.
FEW_RUNS = 8


@dataclass(frozen=True)
class RunTable:
    """Sorted runs, row after row.

    Attributes:
        rows: of the table, one for every run, ascending. starts, stops: of the runs, ascending within a row.
        keys: no run ends later.
    """

    rows: IntArray
    starts: IntArray
    stops: IntArray
    keys: int

    def within(self, row: IntArray, low: IntArray, high: IntArray) -> Flat:
        """For each of some query rows, the runs of its table row that reach into a range of keys.

        Args:
            row: its row of the table, any shape; negative for none. low, high: the range, half-open, of that shape.

        Returns:
            Counts, of the shape of ``row``, flat starts, flat stops.
        """
        known = np.clip(row, 0, len(self._begins) - 2)
        first, after = self._begins[known], self._begins[known + 1]
        # All rows on one line: those of a row within a range are neighbours. A search costs more than all else.
        apart = self.keys + 1
        if low.max(initial=0) > 0:
            first = np.searchsorted(self.rows * apart + self.stops, row * apart + np.clip(low, 0, self.keys), "right")
        if high.min(initial=self.keys) < self.keys:
            after = np.searchsorted(self.rows * apart + self.starts, row * apart + np.clip(high, 0, self.keys), "left")
        counts = np.where(row >= 0, np.maximum(after - first, 0), 0)
        which = ragged_indices(first.reshape(-1), counts.reshape(-1))
        return counts, self.starts[which], self.stops[which]

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        """Where the runs of each row begin, and twice where the last ones end: for rows behind them too."""
        ends = np.cumsum(np.bincount(self.rows))
        return np.concatenate([[0], ends, ends[-1:] if len(ends) else [0]])


def table_of(counts: IntArray, starts: IntArray, stops: IntArray, keys: int) -> RunTable:
    """A table of rows of so many runs each.

    Args:
        counts: of the runs of each row, any shape. starts, stops: flat. keys: no run ends later.
    """
    return RunTable(np.repeat(np.arange(counts.size), counts.reshape(-1)), starts, stops, keys)


def range_over_items(within: KeyRange, items: int, heads: int) -> tuple[IntArray, IntArray]:
    """First and last key + 1 of each row, over all items or heads that share a table: (items, heads, Q or 1)."""
    shared = tuple(axis for axis, size in enumerate((items, heads)) if size == 1)
    low, high = within.starts.min(axis=shared, keepdims=True), within.stops.max(axis=shared, keepdims=True)
    shape = (items, heads, low.shape[2])
    return np.broadcast_to(low, shape), np.broadcast_to(high, shape)
