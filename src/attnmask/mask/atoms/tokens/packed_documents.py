"""The documents mask: packed documents do not attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.arguments import exactly_one
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen_array import SHOWN, FrozenArray
from attnmask.mask.tables.equal_ids import EqualIds, equal_ids
from attnmask.mask.tables.id_stretches import Stretches, lengths_from_bounds, stretches_from_ids, stretches_from_lengths


@dataclass(frozen=True, repr=False)
class Documents(Atom):
    ids: Stretches

    def attends(self, at: Points) -> BoolArray:
        of_query = self.ids.at(at.b, at.q)
        return (of_query == self.ids.at(at.b, at.k)) & (of_query >= 0)

    @property
    def costly(self) -> bool:
        """Documents that come back after others may have as many runs as tokens."""
        return self._equal_ids.come_back

    @cached_property
    def _equal_ids(self) -> EqualIds:
        return equal_ids(self.ids, self.ids)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        return self._equal_ids.bounds(domain.offset + domain.shift, domain.Q, within)

    def sizes(self) -> dict[str, int]:
        return {"B": self.ids.items}

    def arguments(self) -> dict[str, object]:
        lengths = self.ids.lengths(self.ids.documents)
        if lengths is None or (lengths.size > SHOWN and self.ids.printable):
            return {"ids": self.ids.written_out()}
        if lengths.size > SHOWN:
            return {"lengths": FrozenArray(lengths)}
        items = [np.trim_zeros(row, "b").tolist() for row in lengths]
        return {"lengths": items[0] if len(items) == 1 else items}


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
        return Documents(stretches_from_ids(value, name, "documents"))
    if name == "cu_seqlens":
        value = lengths_from_bounds(value, name, "documents")
    return Documents(stretches_from_lengths(value, name, "documents"))
