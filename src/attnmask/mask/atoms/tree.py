"""Trees of drafts: a node sees the path that leads to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import ids_per_position
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expr import Atom, Bounds, Mask
from attnmask.mask.frozen import FrozenArray
from attnmask.mask.tables import Flat, check_run_count, position_in


@dataclass(frozen=True, repr=False)
class Tree(Atom):
    parents: FrozenArray

    def attends(self, at: Points) -> BoolArray:
        parents = self.parents.values
        node = np.where((at.q >= 0) & (at.q < parents.shape[1]), at.q, -1)
        found = (node == at.k) & (node >= 0)
        while (node >= 0).any():
            node = position_in(parents, at.b, node, outside=-1)
            found = found | ((node == at.k) & (node >= 0))
        return found

    def bounds(self, domain: Domain) -> Bounds:
        per_item = [_runs_of_paths(parents, domain.positions) for parents in self.parents.values]
        counts = np.stack([counts for counts, _, _ in per_item])[:, None]
        starts, stops = (np.concatenate([item[side] for item in per_item]) for side in (1, 2))
        return Bounds((len(per_item), 1, domain.Q), starts, stops, counts)

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.parents.values)}

    def arguments(self) -> dict[str, object]:
        return {"parents": self.parents}


def _runs_of_paths(parents: IntArray, positions: IntArray) -> Flat:
    """Runs of the path from the root to each position; none for a position outside.

    Nodes that follow their parent directly are a chain, and a path is a run of each chain it comes through.
    """
    nodes = np.arange(len(parents))
    heads = np.flatnonzero((parents != nodes - 1) | (nodes == 0))
    chain = np.repeat(np.arange(len(heads)), np.diff(heads, append=len(nodes)))
    rows = np.flatnonzero((positions >= 0) & (positions < len(parents)))
    # From the position upwards: the last run of a path is found first.
    found: list[tuple[IntArray, IntArray, IntArray]] = []
    last, total = positions[rows], 0
    while len(rows):
        first = heads[chain[last]]
        found.append((rows, first, last + 1))
        total += len(rows)
        check_run_count(total)
        upper = parents[first]
        rows, last = rows[upper >= 0], upper[upper >= 0]
    counts = np.zeros(len(positions), dtype=np.int64)
    for rows, _, _ in found:
        counts[rows] += 1
    ends, (starts, stops) = np.cumsum(counts), np.empty((2, total), dtype=np.int64)
    for level, (rows, first, stop) in enumerate(found, start=1):
        place = ends[rows] - level
        starts[place], stops[place] = first, stop
    return counts, starts, stops


@public
def tree(parents: Sequence[int] | Sequence[Sequence[int]] | IntArray) -> Mask:
    """Nodes see themselves and their ancestors; attends iff k is q or an ancestor of q.

    Positions outside of the table see nothing and are not seen.

    Args:
        parents: position of each node's parent, which comes before it; -1 for a root; shape (S,) or (B, S).

    Returns:
        A mask.

    Raises:
        ArgumentError: a parent that does not come before its node, as in every cycle, or below -1.

    Source: Miao et al. 2023, "SpecInfer"; Cai et al. 2024, "Medusa" (tree attention for speculative decoding).

    >>> from attnmask.mask.reference import grid
    >>> print(grid(tree([-1, 0, 0, 1]), q=4))
    1 0 0 0
    1 1 0 0
    1 0 1 0
    1 1 0 1
    """
    array = ids_per_position(parents, "parents", "tree").astype(np.int64)
    nodes = np.arange(array.shape[1], dtype=np.int64)
    wrong = np.argwhere((array >= nodes) | (array < -1))
    if len(wrong):
        b, node = wrong[0]
        raise ArgumentError(
            f"the parent of node {node} is {array[b, node]}",
            where=f"tree(parents=), item {b}",
            fix="a parent comes before its node; a root has -1",
        )
    return Tree(FrozenArray(array))
