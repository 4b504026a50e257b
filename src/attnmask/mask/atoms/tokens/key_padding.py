"""The padding mask: which positions of a ragged batch are tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray, Of, Side
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import exactly_one, keep_mask, lengths_per_item, one_of
from attnmask.mask.atoms.tokens.pad_ids import attention_mask_from_ids
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import Flat, look_up, position_in, runs_of_rows
from attnmask.mask.tables.run_table import FEW_RUNS, range_over_items, table_of

AXES = {Of.KEYS: "K", Of.QUERIES: "Q", Of.BOTH: "QK"}


@dataclass(frozen=True, repr=False)
class PaddingByLength(Atom):
    name: ClassVar[str] = "padding"
    lengths: FrozenArray
    side: Side
    of: Of
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        n = look_up(self.lengths.values, at.b)
        key = self._is_token(at.k, n, at.domain.K)
        query = self._is_token(at.row, n, at.domain.Q)
        return {Of.KEYS: key, Of.QUERIES: query, Of.BOTH: query & key}[self.of]

    def _is_token(self, index: IntArray, n: IntArray, total: int) -> BoolArray:
        right = self.side is Side.RIGHT
        return (index >= 0) & (index < n) if right else (index >= total - n) & (index < total)

    def bounds(self, domain: Domain) -> Bounds:
        n = self.lengths.values[:, None, None]
        total = np.array(domain.K)
        starts, stops = (0 * n, n) if self.side is Side.RIGHT else (total - n, total + 0 * n)
        if self.of is Of.KEYS:
            return Bounds((len(n), 1, 1), starts, stops)
        if self.of is Of.QUERIES:
            starts, stops = 0 * n, total + 0 * n
        present = self._is_token(domain.rows, n, domain.Q)
        return Bounds(present.shape, np.where(present, starts, 0), np.where(present, stops, 0))

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.lengths.values)}

    def least_sizes(self) -> dict[str, int]:
        most = int(self.lengths.values.max())
        return dict.fromkeys(AXES[self.of], most)

    def arguments(self) -> dict[str, object]:
        return {"lengths": self.lengths, **_unless_default(self.side, self.of)}


@dataclass(frozen=True, repr=False)
class PaddingByMask(Atom):
    name: ClassVar[str] = "padding"
    attention_mask: FrozenArray
    of: Of
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        key = position_in(self.attention_mask.values, at.b, at.k, outside=False)
        query = position_in(self.attention_mask.values, at.b, at.row, outside=False)
        return {Of.KEYS: key, Of.QUERIES: query, Of.BOTH: query & key}[self.of]

    @property
    def costly(self) -> bool:
        """One hole or two are none; many are more runs than a window leaves."""
        return bool(self._tokens[0].max(initial=0) > FEW_RUNS)

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        values = self.attention_mask.values
        items, (counts, starts, stops) = np.arange(len(values))[:, None, None], self._tokens
        if self.of is Of.QUERIES:
            counts, starts, stops = (
                np.ones(len(values), int),
                np.zeros(len(values), int),
                np.full(len(values), domain.K),
            )
        table = table_of(counts, starts, stops, max(values.shape[1], domain.K))
        low, high = range_over_items(within, len(values), 1)
        row = items if self.of is Of.KEYS else self._if_token(items, domain.rows)
        row, low, high = np.broadcast_arrays(row, low, high)
        counts, starts, stops = table.within(row, low, high)
        return Bounds((len(values), 1, row.shape[2]), starts, stops, counts)

    @cached_property
    def _tokens(self) -> Flat:
        """The runs of tokens of each item."""
        return runs_of_rows(self.attention_mask.values)

    def _if_token(self, item: IntArray, row: IntArray) -> IntArray:
        """The item itself where its query row is a token, else -1."""
        return np.where(position_in(self.attention_mask.values, item, row, outside=False), item, -1)

    def sizes(self) -> dict[str, int]:
        batch, length = self.attention_mask.values.shape
        return {"B": batch, **{axis: length for axis in AXES[self.of]}}

    def arguments(self) -> dict[str, object]:
        return {"attention_mask": self.attention_mask, **_unless_default(Side.RIGHT, self.of)}


@public
def padding(
    *,
    lengths: int | Sequence[int] | IntArray | None = None,
    attention_mask: Any = None,
    ids: Any = None,
    pad_id: int | None = None,
    side: str | None = None,
    of: str = "keys",
) -> Mask:
    """Keys that are padding are seen by no query; attends iff k < n[b], from the left iff k >= K - n[b].

    With ``attention_mask`` attends iff attention_mask[b, k] is 1. With ``of="queries"`` the inequality holds of the
    query's row instead, with ``of="both"`` of both.

    With ``ids`` only the run of pad ids at the padded end is padding: the same id inside the text is text. At the
    other end one pad id is text too (a decoder's start, an end-of-sequence token), more are refused, as is an
    unstated side where a pad id stands on the left. A pad id that is also the end-of-sequence id makes the
    text's own end part of the run; where it counts, give ``attention_mask`` or ``lengths``.

    Args:
        lengths: tokens that are no padding, one number or shape (B,); no more than the plan has keys, or queries.
        attention_mask: 1 or True for a token, 0 or False for padding, floats of exactly 1.0 and 0.0 included; shape
            (S,) or (B, S): lists, an array or a tensor.
        ids: token ids, shape (S,) or (B, S); goes with ``pad_id``.
        pad_id: the id that fills.
        side: the end that is filled, "right" or "left"; default right.
        of: the axis spoken about, "keys" (as transformers has it), "queries" or "both".

    Returns:
        A mask.

    Raises:
        ArgumentError: not exactly one of lengths, attention_mask, ids is given, or it is not usable.
        AmbiguousError: the ids can be read in two ways, or the attention mask holds 0.0 alone, as floats.

    Source: the ``attention_mask`` of Hugging Face transformers.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(padding(lengths=2), q=2, k=3))
    1 1 0
    1 1 0
    >>> print(grid(padding(ids=[[0, 7, 0, 9]], pad_id=0, side="left", of="both"), q=4))
    0 0 0 0
    0 1 1 1
    0 1 1 1
    0 1 1 1
    """
    name, value = exactly_one({"lengths": lengths, "attention_mask": attention_mask, "ids": ids}, "padding")
    about, where = one_of(Of, of, "of", "padding"), f"padding({name}=)"
    if (pad_id is not None) != (name == "ids"):
        raise ArgumentError("ids and pad_id go together", where=where, fix="give ids= with pad_id=, or neither")
    filled = None if side is None else one_of(Side, side, "side", "padding")
    if name == "lengths":
        return PaddingByLength(lengths_per_item(value, name, "padding"), filled or Side.RIGHT, about)
    if name == "ids":
        return PaddingByMask(FrozenArray(attention_mask_from_ids(value, pad_id, filled)), about)
    if filled is not None:
        raise ArgumentError("side is not used with attention_mask", where=where, fix="leave side out")
    return PaddingByMask(FrozenArray(np.atleast_2d(keep_mask(value, name, where))), about)


def _unless_default(side: Side, of: Of) -> dict[str, object]:
    given = {"side": side.value, "of": of.value}
    return {name: value for name, value in given.items() if value not in ("right", "keys")}
