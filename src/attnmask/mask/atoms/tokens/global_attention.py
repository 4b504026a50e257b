"""Global tokens: they attend to every key, and every query attends to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import LARGEST, ids_per_position
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen_array import FrozenArray, is_ragged
from attnmask.mask.tables.run_table import FEW_RUNS, range_over_items, table_of


@dataclass(frozen=True, repr=False)
class GlobalTokens(Atom):
    # Sorted and without duplicates, one array per item.
    items: tuple[FrozenArray, ...]

    def attends(self, at: Points) -> BoolArray:
        return self._are_global(at.b, at.q) | self._are_global(at.b, at.k)

    @property
    def costly(self) -> bool:
        """Many of them, apart from each other, are computed only where other terms leave keys."""
        return max(len(starts) for starts, _ in self._runs) > FEW_RUNS

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        runs = [*self._runs, (np.array([0]), np.array([domain.K]))]
        # The last row of the table, all keys, is that of queries that are global themselves.
        starts, stops = (np.concatenate(bounds) for bounds in zip(*runs, strict=True))
        table = table_of(np.array([len(own) for own, _ in runs]), starts, stops, max(domain.K, stops.max(initial=0)))
        items = np.arange(len(self.items))[:, None]
        row = np.where(self._are_global(items, domain.positions), len(items), items)[:, None]
        low, high = range_over_items(within, len(items), 1)
        row, low, high = np.broadcast_arrays(row, low, high)
        counts, starts, stops = table.within(row, low, high)
        return Bounds((len(items), 1, domain.Q), starts, stops, counts)

    @cached_property
    def _runs(self) -> list[tuple[IntArray, IntArray]]:
        """Per item, the runs of its global tokens."""
        return [_runs_of_sorted(item.values) for item in self.items]

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.items)}

    def arguments(self) -> dict[str, object]:
        return {"indices": self.items[0] if len(self.items) == 1 else [item.values.tolist() for item in self.items]}

    def _are_global(self, b: IntArray, positions: IntArray) -> BoolArray:
        members = [np.isin(positions, item.values) for item in self.items]
        if len(members) == 1:
            return members[0]
        chosen = [(b == item) & member for item, member in enumerate(members)]
        return np.logical_or.reduce(np.broadcast_arrays(*chosen))


@public
def global_tokens(indices: Sequence[int] | Sequence[Sequence[int]] | IntArray) -> Mask:
    """Some tokens see all and are seen by all; attends iff q in indices or k in indices.

    Args:
        indices: positions of the global tokens, in any order: one list for all items, or a list per item.

    Returns:
        A mask.

    Raises:
        ArgumentError: an index is negative or no whole number.

    Source: Beltagy et al. 2020, "Longformer".

    >>> from attnmask.mask.atoms import window
    >>> from attnmask.mask.reference import grid
    >>> print(grid(global_tokens([0]) | window(left=1, right=1), q=5))
    1 1 1 1 1
    1 1 1 0 0
    1 1 1 1 0
    1 0 1 1 1
    1 0 0 1 1
    """
    items = list(indices) if is_ragged(indices) else [indices]
    if not items:
        raise ArgumentError("indices has no batch item", where="global_tokens(indices=)", fix="give one list per item")
    return GlobalTokens(tuple(FrozenArray(_sorted_indices(item)) for item in items))


def _sorted_indices(item: object) -> NDArray[np.int64]:
    array = np.unique(ids_per_position(item, "indices", "global_tokens")).astype(np.int64)
    outside = array[(array < 0) | (array > LARGEST)]
    if len(outside):
        raise ArgumentError(
            f"indices holds {outside[0]}", where="global_tokens(indices=)", fix="positions are 0 or more, below 2**31"
        )
    return array


def _runs_of_sorted(values: IntArray) -> tuple[IntArray, IntArray]:
    begins = np.append(True, np.diff(values) > 1)[: len(values)]
    ends = np.append(np.diff(values) > 1, True)[: len(values)]
    return values[begins], values[ends] + 1
