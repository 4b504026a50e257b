"""Token trees of speculative decoding: a node attends to its ancestors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import ids_per_position, lengths_per_item
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import Flat, check_run_count, look_up, position_in


@dataclass(frozen=True, repr=False)
class Tree(Atom):
    parents: FrozenArray

    def attends(self, at: Points) -> BoolArray:
        return _is_on_path(self.parents.values, at.b, at.q, at.k)

    def bounds(self, domain: Domain) -> Bounds:
        per_item = [_runs_of_paths(parents, domain.positions) for parents in self.parents.values]
        return _bounds_of_items(per_item, domain.Q)

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.parents.values)}

    def arguments(self) -> dict[str, object]:
        return {"parents": self.parents}


@dataclass(frozen=True, repr=False)
class CachedTree(Tree):
    name: ClassVar[str] = "tree"
    cache: FrozenArray
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        parents, cache = self.parents.values, look_up(self.cache.values, at.b)
        is_node = (at.row >= 0) & (at.row < parents.shape[1])
        return is_node & (at.k < cache) | _is_on_path(parents, at.b, at.row, at.k - cache)

    def bounds(self, domain: Domain) -> Bounds:
        parents, cache = self.parents.values, self.cache.values
        paths = [_runs_of_paths(own, domain.rows) for own in parents]
        per_item = [_behind(paths[b % len(paths)], int(cache[b % len(cache)])) for b in range(self.sizes()["B"])]
        return _bounds_of_items(per_item, domain.Q)

    def sizes(self) -> dict[str, int]:
        return {"B": max(len(self.parents.values), len(self.cache.values))}

    def arguments(self) -> dict[str, object]:
        return {"parents": self.parents, "cache": self.cache}


def _is_on_path(parents: IntArray, b: IntArray, node: IntArray, k: IntArray) -> BoolArray:
    """Whether a key is a node or an ancestor of it."""
    node = np.where((node >= 0) & (node < parents.shape[1]), node, -1)
    found = (node == k) & (node >= 0)
    while (node >= 0).any():
        node = position_in(parents, b, node, outside=-1)
        found = found | ((node == k) & (node >= 0))
    return found


def _bounds_of_items(per_item: Sequence[Flat], rows: int) -> Bounds:
    counts = np.stack([counts for counts, _, _ in per_item])[:, None]
    starts, stops = (np.concatenate([item[side] for item in per_item]) for side in (1, 2))
    return Bounds((len(per_item), 1, rows), starts, stops, counts)


def _behind(paths: Flat, cache: int) -> Flat:
    """Paths that begin with the keys of a cache; a path from node 0 touches them."""
    counts, starts, stops = paths[0].astype(np.int64), paths[1] + cache, paths[2] + cache
    rows = np.flatnonzero(counts)
    first = (np.cumsum(counts) - counts)[rows]
    apart = (starts[first] > cache) & (cache > 0)
    starts[first[~apart]] = np.where(starts[first[~apart]] > cache, starts[first[~apart]], 0)
    counts[rows[apart]] += 1
    return counts, np.insert(starts, first[apart], 0), np.insert(stops, first[apart], cache)


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
def tree(
    parents: Sequence[int] | Sequence[Sequence[int]] | IntArray, cache: int | Sequence[int] | IntArray | None = None
) -> Mask:
    """Nodes see themselves and their ancestors; attends iff k is q or an ancestor of q.

    Positions outside of the table see nothing and are not seen.

    With ``cache`` the keys are the tokens of a cache and behind them the nodes, the queries are the nodes alone,
    counted by row, whatever the offset: attends iff row is a node, and k < cache[b] or k - cache[b] is row or an
    ancestor of row. It is the verification of drafts in speculative decoding.

    Args:
        parents: position of each node's parent, which comes before it; -1 for a root; shape (S,) or (B, S).
        cache: tokens that all nodes see, one number or shape (B,).

    Returns:
        A mask.

    Raises:
        ArgumentError: a parent that does not come before its node, as in every cycle, or below -1; a cache that is
            negative, or of another batch.

    Source: Miao et al. 2023, "SpecInfer"; Cai et al. 2024, "Medusa"; Li et al. 2024, "EAGLE" (tree
    attention for speculative decoding).

    >>> from attnmask.mask.reference import grid
    >>> print(grid(tree([-1, 0, 0, 1]), q=4))
    1 0 0 0
    1 1 0 0
    1 0 1 0
    1 1 0 1
    >>> print(grid(tree([-1, 0, 0], cache=2), q=3, k=5))
    1 1 1 0 0
    1 1 1 1 0
    1 1 1 0 1
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
    if cache is None:
        return Tree(FrozenArray(array))
    lengths = lengths_per_item(cache, "cache", "tree")
    if len(array) != len(lengths.values) and 1 not in (len(array), len(lengths.values)):
        what = f"{len(array)} trees and {len(lengths.values)} caches"
        raise ArgumentError(what, where="tree(cache=)", fix="give one of each per batch item")
    return CachedTree(FrozenArray(array), lengths)
