"""What is read directly off the runs of a set, for guesses that are checked afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnmask.compiler.runs import Int64, Runs
from attnmask.conventions import BoolArray, IntArray


@dataclass(frozen=True)
class Outline:
    """First and last keys of every row of a set that is the same for all heads.

    Attributes:
        runs: the set, shape (B, 1, Q). offset: position of query row 0.
    """

    runs: Runs
    offset: int

    @cached_property
    def position(self) -> IntArray:
        """int64 (Q,)."""
        return np.arange(self.runs.shape[2], dtype=np.int64) + self.offset

    @cached_property
    def some(self) -> BoolArray:
        """Whether a row has a key, (B, Q)."""
        return (self.runs.counts > 0).reshape(self._rows)

    @cached_property
    def first(self) -> Int64:
        """First key of each row, 0 of an empty one, (B, Q)."""
        return self._bound(self.runs.starts, self.runs.indptr[:-1])

    @cached_property
    def stop(self) -> Int64:
        """Last key of each row + 1, 0 of an empty one, (B, Q)."""
        return self._bound(self.runs.stops, self.runs.indptr[1:] - 1)

    @cached_property
    def last_run(self) -> Int64:
        """Start of the last run of each row, 0 of an empty one, (B, Q)."""
        return self._bound(self.runs.starts, self.runs.indptr[1:] - 1)

    @cached_property
    def key_seen(self) -> BoolArray:
        """Whether some row attends to a key, (B, K)."""
        return self.runs.keys_seen

    @cached_property
    def reach(self) -> tuple[int, int]:
        """How far the farthest row that is not empty sees back from its own position, and ahead of it; of some row."""
        back, ahead = (self.position - self.first)[self.some], (self.stop - 1 - self.position)[self.some]
        return int(back.max()), int(ahead.max())

    @property
    def _rows(self) -> tuple[int, int]:
        return self.runs.shape[0], self.runs.shape[2]

    def _bound(self, bounds: IntArray, at: IntArray) -> Int64:
        found = np.zeros(self.runs.rows, dtype=np.int64)
        some = self.runs.counts > 0
        found[some] = bounds[at[some]]
        return found.reshape(self._rows)
