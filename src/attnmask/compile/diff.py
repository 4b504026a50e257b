"""The pairs in which two sets differ."""

from __future__ import annotations

from dataclasses import dataclass

from attnmask.compile.algebra import common_shape, subtract
from attnmask.compile.runs import Runs
from attnmask.errors import ArgumentError

Pair = tuple[int, int, int, int]


@dataclass(frozen=True)
class Diff:
    """Two sets compared; true iff they differ.

    Attributes:
        only_left, only_right: the pairs that one has and the other has not, as Runs.
    """

    only_left: Runs
    only_right: Runs

    def __bool__(self) -> bool:
        return bool(self.only_left.pairs or self.only_right.pairs)

    @property
    def first_left(self) -> Pair | None:
        """The first pair (b, h, q, k) that only the left set has."""
        return _first(self.only_left)

    @property
    def first_right(self) -> Pair | None:
        """The first pair (b, h, q, k) that only the right set has."""
        return _first(self.only_right)

    def __str__(self) -> str:
        if not self:
            return "equal"
        left = f"only left: {self.only_left.pairs} pairs, first (b, h, q, k) = {self.first_left}"
        return f"{left}\nonly right: {self.only_right.pairs} pairs, first (b, h, q, k) = {self.first_right}"


def diff_of(left: Runs, right: Runs) -> Diff:
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
    left, right = left.broadcast_to(shape), right.broadcast_to(shape)
    return Diff(subtract(left, right), subtract(right, left))


def _first(runs: Runs) -> Pair | None:
    if not len(runs.starts):
        return None
    item, q = divmod(int(runs.row_of_run[0]), runs.shape[2])
    return (*divmod(item, runs.shape[1]), q, int(runs.starts[0]))
