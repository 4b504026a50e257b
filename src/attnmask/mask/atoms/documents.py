"""The documents mask: packed texts do not see each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import as_array_checked, exactly_one, ids_per_position, lengths_per_item, whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expr import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen import SHOWN, FrozenArray, is_ragged
from attnmask.mask.run_table import RunTable, range_of, table_of
from attnmask.mask.tables import at_positions, check_row_count, come_back, position_in, run_of_equal, stretches_by_id


@dataclass(frozen=True, repr=False)
class Documents(Atom):
    ids: FrozenArray

    def attends(self, at: Points) -> BoolArray:
        of_query = position_in(self.ids.values, at.b, at.q, outside=-1)
        of_key = position_in(self.ids.values, at.b, at.k, outside=-1)
        return (of_query == of_key) & (of_query >= 0)

    @property
    def costly(self) -> bool:
        """Documents that come back after others may have as many runs as tokens."""
        return self._come_back

    @cached_property
    def _come_back(self) -> bool:
        return any(come_back(ids) for ids in self.ids.values)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        ids, first = self.ids.values, domain.offset + domain.shift
        shape = (len(ids), 1, domain.Q)
        if not self.costly:
            return Bounds(shape, *run_of_equal(ids, first, domain.Q))
        low, high = range_of(within, len(ids), 1)
        counts, starts, stops = zip(
            *(
                table.within(at_positions(own, first, domain.Q, outside=-1), low[item, 0], high[item, 0])
                for item, (own, table) in enumerate(self._tables)
            ),
            strict=True,
        )
        return Bounds(shape, np.concatenate(starts), np.concatenate(stops), np.stack(counts)[:, None])

    @cached_property
    def _tables(self) -> list[tuple[IntArray, RunTable]]:
        """Per item, the row of each position in a table of the stretches of each id."""
        found = [stretches_by_id(ids) for ids in self.ids.values]
        return [(own, table_of(*stretches, len(own))) for own, stretches in found]

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.ids.values)}

    def arguments(self) -> dict[str, object]:
        lengths = _lengths_from_ids(self.ids.values)
        return {"ids": self.ids} if lengths is None else {"lengths": lengths[0] if len(lengths) == 1 else lengths}


@public
def documents(
    *,
    lengths: Sequence[int] | Sequence[Sequence[int]] | IntArray | None = None,
    ids: Sequence[int] | Sequence[Sequence[int]] | IntArray | None = None,
    cu_seqlens: Sequence[int] | IntArray | None = None,
) -> Mask:
    """Queries see the keys of their own document; attends iff doc(q) == doc(k), both in a document.

    A position after the last document, or with a negative id, is in none and sees nothing.

    Args:
        lengths: tokens of each document, shape (documents,), or one such list per batch item.
        ids: the document of each position, shape (S,) or (B, S); negative for none.
        cu_seqlens: document borders 0, n1, n1 + n2, ... as flash-attention's varlen functions take them.

    Returns:
        A mask.

    Raises:
        ArgumentError: not exactly one of the three is given, or it is not usable.

    Source: flash-attention's ``cu_seqlens``; Krell et al. 2021, "Efficient Sequence Packing".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(documents(lengths=[1, 2]), q=4))
    1 0 0 0
    0 1 1 0
    0 1 1 0
    0 0 0 0
    """
    given = {"lengths": lengths, "ids": ids, "cu_seqlens": cu_seqlens}
    name, value = exactly_one(given, "documents")
    if name == "ids":
        return Documents(FrozenArray(ids_per_position(value, "ids", "documents")))
    if name == "cu_seqlens":
        value = _lengths_from_cu_seqlens(value)
    items = list(value) if is_ragged(value) else [value]
    if not items:
        raise ArgumentError("lengths has no batch item", where="documents(lengths=)", fix="give one list per item")
    return Documents(FrozenArray(_ids_from_lengths(items)))


def _ids_from_lengths(items: Sequence[object]) -> IntArray:
    arrays = [_lengths(item) for item in items]
    longest = max(int(lengths.sum()) for lengths in arrays)
    check_row_count(len(arrays) * longest, f"{len(arrays)} items of {longest} tokens", "documents(lengths=)")
    ids = np.full((len(arrays), longest), -1, dtype=np.int64)
    for row, lengths in zip(ids, arrays, strict=True):
        row[: lengths.sum()] = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    return ids


def _lengths_from_ids(ids: IntArray) -> list[list[int]] | None:
    """Lengths that make these ids, if there are some, and few enough to be printed."""
    if ids.size == 0 or ids.max() >= SHOWN:
        return None
    lengths = [np.bincount(row[row >= 0]) for row in ids]
    made = np.array_equal(_ids_from_lengths(lengths), ids)
    return [one.tolist() for one in lengths] if made and sum(map(len, lengths)) <= SHOWN else None


def _lengths(item: object) -> IntArray:
    array = as_array_checked(item, "lengths", "documents")
    if array.ndim == 1 and not len(array):
        return np.zeros(0, dtype=np.int64)
    lengths = lengths_per_item(item, "lengths", "documents").values
    whole_number(int(lengths.sum()), "the sum of lengths", "documents")
    return lengths


def _lengths_from_cu_seqlens(value: object) -> IntArray:
    borders = lengths_per_item(value, "cu_seqlens", "documents").values
    if borders[0] != 0 or (np.diff(borders) < 0).any():
        raise ArgumentError(
            f"cu_seqlens is {borders[:8].tolist()}",
            where="documents(cu_seqlens=)",
            fix="give non-decreasing borders that begin with 0: 0, n1, n1 + n2, ...",
        )
    return np.diff(borders)
