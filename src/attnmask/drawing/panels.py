"""The cells of a picture: single pairs, or tiles of pairs, for some items and heads of a plan."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from attnmask.compiler import Plan
from attnmask.compiler.tiles import tiles_from_runs
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import instance_of


@dataclass(frozen=True)
class Panel:
    """One batch item and head.

    Attributes:
        name: which item and head, empty where the plan has just one.
        states: TileState of every cell, int8 (rows of cells, columns of cells).
        height, width: query rows and keys of a cell; the last cell of an axis may hold fewer.
        pairs: pairs of this item and head that attend.
    """

    name: str
    states: IntArray
    height: int
    width: int
    pairs: int

    @property
    def is_exact(self) -> bool:
        """Whether every cell is one pair."""
        return self.height == self.width == 1


def panels_from_plan(plan: Plan, items: list[tuple[int, int]], most: int) -> list[Panel]:
    """Cut items and heads of a plan into at most so many cells a side.

    Args:
        plan: the plan. items: (batch item, head) of each panel.
        most: cells that fit side by side.
    """
    height, width = _cell_size(plan.Q, most), _cell_size(plan.K, most)
    return [_panel(plan, b, h, height, width) for b, h in items]


def chosen_items(plan: Plan, batch: int | None, head: int | None) -> list[tuple[int, int]]:
    """The batch items and heads that are asked for, None for all."""
    instance_of(Plan, plan, "plan", "draw", "compile the mask: compile(mask, q=)")
    return list(itertools.product(_chosen("batch", batch, plan.B), _chosen("head", head, plan.H)))


def not_shown(items: list[tuple[int, int]], most: int) -> str:
    """A line that says how many items are left out, empty if none."""
    left = len(items) - most
    return f"{left} more of {len(items)} are not shown; in Python, choose with batch= and head=" if left > 0 else ""


def share(panel: Panel, plan: Plan) -> str:
    """How many pairs of a panel attend."""
    total = plan.Q * plan.K
    return f"{panel.pairs:,} of {total:,} pairs attend ({100 * panel.pairs / max(total, 1):.4g}%)"


def tile_size(panel: Panel) -> str:
    """How large the tiles of a panel are, empty where a cell is a pair."""
    return "" if panel.is_exact else f"a cell is a tile of {panel.height:,} x {panel.width:,} (queries x keys)"


def _chosen(name: str, index: int | None, size: int) -> range:
    if index is None or size == 1:  # all items of an axis of 1 are alike
        return range(size)
    if not 0 <= index < size:
        raise ArgumentError(f"{name} is {index}", where="draw", fix=f"give 0 to {size - 1}")
    return range(index, index + 1)


def _panel(plan: Plan, b: int, h: int, height: int, width: int) -> Panel:
    rows = (b * plan.H + h) * plan.Q + np.arange(plan.Q)
    runs = plan.runs.take(rows, (1, 1, plan.Q))
    states = tiles_from_runs(runs, height, width).states()[0, 0]
    axes = (("batch", b, plan.B), ("head", h, plan.H))
    name = ", ".join(f"{axis} {index}" for axis, index, size in axes if size > 1)
    return Panel(name, states, height, width, runs.pairs)


def _cell_size(length: int, most: int) -> int:
    """The smallest power of two of which so few make up a length."""
    size = 1
    while size * most < length:
        size *= 2
    return size
