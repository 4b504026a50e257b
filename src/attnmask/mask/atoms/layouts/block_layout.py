"""Block-sparse layouts: which blocks of keys a block of queries attends to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import bool_array, positive_number, whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import Flat, check_row_count, look_up, runs_of_rows
from attnmask.mask.tables.run_table import FEW_RUNS, range_over_items, table_of


@dataclass(frozen=True, repr=False)
class Blocks(Atom):
    layout: FrozenArray
    size: int

    def attends(self, at: Points) -> BoolArray:
        layout, row, column = self._four_axes(), at.q // self.size, at.k // self.size
        rows, columns = layout.shape[2:]
        exists = (row >= 0) & (row < rows) & (column < columns)
        return exists & look_up(layout, at.b, at.h, np.clip(row, 0, max(rows - 1, 0)), np.clip(column, 0, columns - 1))

    @property
    def costly(self) -> bool:
        """Rows of many separate blocks are computed only where other terms leave keys."""
        return bool(self._runs[0].max(initial=0) > FEW_RUNS)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        numbers, starts, stops = self._runs
        b, h, rows = map(int, numbers.shape)
        table = table_of(numbers, starts, stops, self._four_axes().shape[3])
        block = domain.positions // self.size
        of_head = rows * np.arange(b * h).reshape(b, h, 1)
        row = np.where((block >= 0) & (block < rows), of_head + block, -1)
        low, high = range_over_items(within, b, h)
        row, low, high = np.broadcast_arrays(row, low // self.size, -(-high // self.size))
        counts, starts, stops = table.within(row, low, high)
        return Bounds((b, h, domain.Q), starts * self.size, stops * self.size, counts)

    @cached_property
    def _runs(self) -> Flat:
        """The runs of blocks of each row of blocks."""
        return runs_of_rows(self._four_axes())

    def sizes(self) -> dict[str, int]:
        return dict(zip("BH", self._four_axes().shape[:2], strict=True))

    def arguments(self) -> dict[str, object]:
        return {"layout": self.layout, "size": self.size}

    def _four_axes(self) -> BoolArray:
        values = self.layout.values
        return values[None, None] if values.ndim == 2 else values


@public
def blocks(layout: Any, size: int) -> Mask:
    """Blocks of queries see blocks of keys; attends iff layout[(b, h,) q // size, k // size].

    Nothing outside of the layout attends.

    Args:
        layout: bool or 0/1 integers, True attends; shape (blocks, blocks) or (B, H, blocks, blocks), B and H may be 1.
        size: positions of a block, 1 or more.

    Returns:
        A mask.

    Raises:
        ArgumentError: another shape or other values, or size below 1.

    Source: Child et al. 2019, "Sparse Transformers"; Zaheer et al. 2020, "Big Bird".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(blocks([[1, 0], [1, 1]], size=2), q=4))
    1 1 0 0
    1 1 0 0
    1 1 1 1
    1 1 1 1
    """
    array = bool_array(layout, "layout", "blocks", dims=(2, 4))
    return Blocks(FrozenArray(array), positive_number(size, "size", "blocks"))


@public
def bigbird_layout(blocks: int, window: int, global_blocks: int, random_blocks: int, seed: int = 0) -> BoolArray:
    """Big Bird's layout: neighbours, global blocks at the beginning, and some random blocks in every row.

    Args:
        blocks: blocks of a row and of a column. window: blocks that a block sees around itself, an odd number.
        global_blocks: first blocks, which see and are seen by all. random_blocks: others that each row sees.
        seed: of the random blocks.

    Returns:
        Bool (blocks, blocks), for ``blocks(layout, size)``.

    Raises:
        ArgumentError: a number is negative, or not whole.

    Source: Zaheer et al. 2020, "Big Bird: Transformers for Longer Sequences".

    >>> bigbird_layout(4, window=1, global_blocks=1, random_blocks=0).astype(int)
    array([[1, 1, 1, 1],
           [1, 1, 0, 0],
           [1, 0, 1, 0],
           [1, 0, 0, 1]])
    """
    named = {"blocks": blocks, "window": window, "global_blocks": global_blocks, "random_blocks": random_blocks}
    count, around, first, others = (whole_number(value, name, "bigbird_layout") for name, value in named.items())
    check_row_count(count**2, f"{count} x {count} blocks", "bigbird_layout")
    place = np.arange(count)
    layout = np.abs(place[:, None] - place) <= around // 2
    layout[:first] = layout[:, :first] = True
    chance = np.random.default_rng(whole_number(seed, "seed", "bigbird_layout"))
    for row in layout:
        unseen = np.flatnonzero(~row)
        row[chance.choice(unseen, min(others, len(unseen)), replace=False)] = True
    return layout
