"""Packed documents on both sides of cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen_array import SHOWN, FrozenArray, is_ragged
from attnmask.mask.tables.equal_ids import EqualIds, equal_ids
from attnmask.mask.tables.id_stretches import Stretches, lengths_from_bounds, stretches_from_ids, stretches_from_lengths

Lengths = Sequence[int] | Sequence[Sequence[int]] | IntArray
WHERE = "cross_documents"


@dataclass(frozen=True, repr=False)
class CrossDocuments(Atom):
    queries: Stretches
    keys: Stretches
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        of_query = self.queries.at(at.b, at.row)
        return (of_query == self.keys.at(at.b, at.k)) & (of_query >= 0)

    @property
    def costly(self) -> bool:
        """Documents that come back after others may have as many runs as tokens."""
        return self._equal_ids.come_back

    @cached_property
    def _equal_ids(self) -> EqualIds:
        return equal_ids(self.queries, self.keys)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        return self._equal_ids.bounds(domain.shift, domain.Q, within)

    def sizes(self) -> dict[str, int]:
        return {"B": max(self.queries.items, self.keys.items)}

    def arguments(self) -> dict[str, object]:
        documents = max(self.queries.documents, self.keys.documents)
        lengths = [side.lengths(documents) for side in (self.queries, self.keys)]
        both = [FrozenArray(one[0] if len(one) == 1 else one) for one in lengths if one is not None]
        short = documents <= SHOWN or not (self.queries.printable and self.keys.printable)
        if len(both) == 2 and short:
            return {"query_lengths": both[0], "key_lengths": both[1]}
        return {"query_ids": self.queries.written_out(), "key_ids": self.keys.written_out()}


@public
def cross_documents(
    *,
    query_lengths: Lengths | None = None,
    key_lengths: Lengths | None = None,
    query_ids: Lengths | None = None,
    key_ids: Lengths | None = None,
    cu_seqlens_q: Sequence[int] | IntArray | None = None,
    cu_seqlens_k: Sequence[int] | IntArray | None = None,
) -> Mask:
    """Query documents see the key documents of the same number; attends iff query_doc(row) == key_doc(k).

    It is the cross-attention of a packed encoder-decoder: the i-th target sees the i-th source, which has a length of
    its own. Queries are counted by row, whatever the offset. What is in no document sees nothing and is not seen.

    Args:
        query_lengths, key_lengths: tokens of each document, 0 or more, shape (documents,), or one such list per batch
            item; as many documents of queries as of keys.
        query_ids, key_ids: or the document of each query row and of each key, shape (S,) or (B, S); negative for none.
        cu_seqlens_q, cu_seqlens_k: or document borders 0, n1, n1 + n2, ... as flash-attention's varlen functions take
            them, shape (documents + 1,).

    Returns:
        A mask.

    Raises:
        ArgumentError: not exactly one pair is given, or the two do not fit each other.

    Source: flash-attention, ``cu_seqlens_q`` and ``cu_seqlens_k`` of ``flash_attn_varlen_func``; Krell et al. 2021,
    "Efficient Sequence Packing".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(cross_documents(query_lengths=[1, 2], key_lengths=[3, 1]), q=4, k=5))
    1 1 1 0 0
    0 0 0 1 0
    0 0 0 1 0
    0 0 0 0 0
    """
    pairs: dict[str, tuple[Any, Any, Callable[[Any, str], Stretches]]] = {
        "query_lengths and key_lengths": (query_lengths, key_lengths, _from_lengths),
        "query_ids and key_ids": (query_ids, key_ids, lambda value, name: stretches_from_ids(value, name, WHERE)),
        "cu_seqlens_q and cu_seqlens_k": (cu_seqlens_q, cu_seqlens_k, _from_borders),
    }
    given = {names: pair for names, pair in pairs.items() if pair[0] is not None or pair[1] is not None}
    if len(given) != 1:
        got = "; ".join(given) or "none"
        raise ArgumentError(f"got {got}", where=WHERE, fix=f"give exactly one pair of {'; '.join(pairs)}")
    ((names, (of_queries, of_keys, read)),) = given.items()
    query_name, _, key_name = names.partition(" and ")
    if of_queries is None or of_keys is None:
        missing = query_name if of_queries is None else key_name
        raise ArgumentError(f"{missing} is missing", where=WHERE, fix=f"give both {names}")
    queries, keys = read(of_queries, query_name), read(of_keys, key_name)
    _check_items(queries.items, keys.items)
    if query_name != "query_ids":
        _check_counts(of_queries, of_keys, names)
    return CrossDocuments(queries, keys)


def _from_lengths(value: Any, name: str) -> Stretches:
    return stretches_from_lengths(value, name, WHERE)


def _from_borders(value: Any, name: str) -> Stretches:
    return stretches_from_lengths(lengths_from_bounds(value, name, WHERE), name, WHERE)


def _check_items(queries: int, keys: int) -> None:
    if queries != keys and 1 not in (queries, keys):
        raise ArgumentError(
            f"the queries have {queries} batch items, the keys {keys}", where=WHERE, fix="give one of each per item"
        )


def _check_counts(of_queries: Any, of_keys: Any, names: str) -> None:
    """As many documents of queries as of keys, item by item."""
    counts = [
        [np.size(item) for item in value] if is_ragged(value) else [np.size(value)] for value in (of_queries, of_keys)
    ]
    for item, (queries, keys) in enumerate(zip(*np.broadcast_arrays(*counts), strict=True)):
        if queries != keys:
            raise ArgumentError(
                f"item {item} has {queries} documents of queries and {keys} of keys",
                where=f"{WHERE}, {names}",
                fix="give one of each per document; a document may have a length of 0",
            )
