"""The pairs in which two sets differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from attnmask.compiler.algebra import common_shape, rows_that_differ, subtract
from attnmask.compiler.runs import Int64, Runs
from attnmask.errors import ArgumentError

Pair = tuple[int, int, int, int]


# Of sets that differ at once, the first pair is found without looking at the rest.
FIRST_ROWS = 256


@dataclass(frozen=True)
class Diff:
    """Two sets compared; true iff they differ.

    Attributes:
        left, right: the sets, as Runs of one shape.
    """

    left: Runs
    right: Runs

    def __bool__(self) -> bool:
        return bool(len(self._rows))

    @cached_property
    def only_left(self) -> Runs:
        """The pairs that the left set has and the right has not."""
        return subtract(self.left, self.right)

    @cached_property
    def only_right(self) -> Runs:
        """The pairs that the right set has and the left has not."""
        return subtract(self.right, self.left)

    @cached_property
    def first_left(self) -> Pair | None:
        """The first pair (b, h, q, k) that only the left set has."""
        return self._first(self.left, self.right)

    @cached_property
    def first_right(self) -> Pair | None:
        """The first pair (b, h, q, k) that only the right set has."""
        return self._first(self.right, self.left)

    def __str__(self) -> str:
        if not self:
            return "equal"
        left = f"only left: {self.only_left.pairs} pairs, first (b, h, q, k) = {self.first_left}"
        return f"{left}\nonly right: {self.only_right.pairs} pairs, first (b, h, q, k) = {self.first_right}"

    @cached_property
    def _rows(self) -> Int64:
        return rows_that_differ(self.left, self.right)

    def _first(self, one: Runs, other: Runs) -> Pair | None:
        start, count = 0, FIRST_ROWS
        while start < len(self._rows):
            rows = self._rows[start : start + count]
            only = subtract(*(runs.take(rows, (1, 1, len(rows))) for runs in (one, other)))
            if len(only.starts):
                item, q = divmod(int(rows[only.row_of_run[0]]), one.shape[2])
                return (*divmod(item, one.shape[1]), q, int(only.starts[0]))
            start, count = start + count, 2 * count
        return None


def diff_from_runs(left: Runs, right: Runs) -> Diff:
    """Compare two sets on the same lengths."""
    if (left.shape[2], left.keys) != (right.shape[2], right.keys):
        raise ArgumentError(
            f"lengths (Q, K) are {(left.shape[2], left.keys)} and {(right.shape[2], right.keys)}",
            where="plan.diff",
            fix="compare plans of the same lengths",
        )
    try:
        shape = common_shape([left, right])
    except ValueError:
        raise ArgumentError(
            f"batch and heads are {left.shape[:2]} and {right.shape[:2]}", where="plan.diff", fix="make them agree"
        ) from None
    return Diff(left.broadcast_to(shape), right.broadcast_to(shape))
