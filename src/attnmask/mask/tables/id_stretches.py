"""Ids by position, stored as stretches of equal ids: the size grows with the documents, not with their lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import LARGEST, as_array_checked, ids_per_position, lengths_per_item
from attnmask.mask.frozen_array import SHOWN, FrozenArray, is_ragged
from attnmask.mask.tables.lookup_tables import look_up

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Stretches:
    """The id of every position of every item; -1 for none.

    Attributes:
        ends: int64 (B, N), where each stretch ends and the next begins; rows of fewer stretches repeat their last.
        ids: int64 (B, N), its id; equal ids do not touch, and what follows the last stretch has none.
    """

    ends: FrozenArray
    ids: FrozenArray

    @property
    def items(self) -> int:
        """Batch items; 1 speaks for any number."""
        return len(self.ends.values)

    @cached_property
    def begins(self) -> Int64:
        """Where each stretch begins, int64 (B, N)."""
        ends = self.ends.values
        return np.concatenate([np.zeros((len(ends), 1), np.int64), ends], axis=1)[:, :-1]

    def at(self, b: IntArray, position: IntArray) -> IntArray:
        """The id at positions of items, -1 outside; b and position broadcast."""
        apart = LARGEST + 2
        ends = np.concatenate([self.ends.values, np.full((self.items, 1), apart - 1)], axis=1)
        ids = np.concatenate([self.ids.values, np.full((self.items, 1), -1)], axis=1)
        line = (ends + apart * np.arange(self.items)[:, None]).reshape(-1)
        item = look_up(np.arange(self.items), b)
        inside = (position >= 0) & (position < apart - 1)
        found = np.searchsorted(line, item * apart + np.where(inside, position, 0), side="right")
        return np.where(inside, ids.reshape(-1)[found], -1)

    def spread(self, values: IntArray, first: int, count: int, outside: int) -> Int64:
        """A value of each stretch, (B, N) or for several items (items, N), at positions from ``first`` on.

        Returns:
            int64 (B or items, count); the cost does not depend on the lengths.
        """
        found = np.full((len(values), count), outside, dtype=np.int64)
        for item, (row, own) in enumerate(zip(found, values, strict=True)):
            ends = self.ends.values[item * (self.items > 1)]
            reached = slice(np.searchsorted(ends, first, "right"), np.searchsorted(ends, first + count) + 1)
            ends = np.clip(ends[reached] - first, 0, count)
            begin = min(max(-first, 0), count)
            row[begin : ends[-1] if len(ends) else 0] = np.repeat(own[reached], np.diff(ends, prepend=begin))
        return found

    @cached_property
    def documents(self) -> int:
        """The largest id + 1."""
        return int(self.ids.values.max(initial=-1)) + 1

    def lengths(self, documents: int) -> Int64 | None:
        """Lengths of so many documents that make these ids, (B, documents); None if there are none."""
        if self.items * documents > max(2 * self.ids.values.size, 2**16):  # ids of which most name no document
            return None
        lengths = np.zeros((self.items, documents), dtype=np.int64)
        item, column = np.nonzero(self.ids.values >= 0)
        np.add.at(lengths, (item, self.ids.values[item, column]), (self.ends.values - self.begins)[item, column])
        return lengths if _stretches_from_rows(lengths) == self else None

    @property
    def printable(self) -> bool:
        """Whether the ids are few enough to be printed position by position."""
        return self.items * int(self.ends.values.max(initial=0)) <= SHOWN

    def written_out(self) -> FrozenArray:
        """The ids position by position, int64 (B, S)."""
        length = int(self.ends.values.max(initial=0))
        return FrozenArray(self.spread(self.ids.values, 0, length, outside=-1))


def stretches_from_ids(value: object, name: str, where: str) -> Stretches:
    """The stretches of ids per position, shape (S,) or (B, S); negative for none."""
    ids = np.maximum(ids_per_position(value, name, where), -1)
    items = [np.flatnonzero(np.append(row[1:] != row[:-1], True)[: len(row)]) for row in ids]
    return _stretches([last + 1 for last in items], [row[last] for row, last in zip(ids, items, strict=True)])


def stretches_from_lengths(value: Any, name: str, where: str) -> Stretches:
    """The stretches of documents of given lengths, shape (documents,), or one such list per item."""
    items: list[Any] = list(value) if is_ragged(value) else [value]
    if not items:
        raise ArgumentError(f"{name} has no batch item", where=f"{where}({name}=)", fix="give one list per item")
    lengths = [_lengths(item, name, where) for item in items]
    return _stretches_from_rows(lengths)


def lengths_from_bounds(value: object, name: str, where: str) -> IntArray:
    """Lengths of documents from their borders 0, n1, n1 + n2, ..."""
    borders = lengths_per_item(value, name, where).values
    if borders[0] != 0 or (np.diff(borders) < 0).any():
        raise ArgumentError(
            f"{name} is {borders[:8].tolist()}",
            where=f"{where}({name}=)",
            fix="give non-decreasing borders that begin with 0: 0, n1, n1 + n2, ...",
        )
    return np.diff(borders)


def _lengths(item: Any, name: str, where: str) -> IntArray:
    array = as_array_checked(item, name, where)
    if array.ndim == 1 and not len(array):
        return np.zeros(0, dtype=np.int64)
    lengths = lengths_per_item(item, name, where).values
    if lengths.sum() > LARGEST:
        raise ArgumentError(
            f"the sum of {name} is {lengths.sum()}", where=f"{where}({name}=)", fix="stay below 2**31 tokens"
        )
    return lengths


def _stretches_from_rows(lengths: Iterable[IntArray]) -> Stretches:
    """Of the lengths of each item; a document of no token has no stretch."""
    some = [(own, np.flatnonzero(own)) for own in lengths]
    return _stretches([np.cumsum(own[at]) for own, at in some], [at for _, at in some])


def _stretches(ends: Sequence[IntArray], ids: Sequence[IntArray]) -> Stretches:
    """Of one array per item; stretches without an id at the end of an item are left out."""
    counts = [int(np.flatnonzero(np.append(0, own) >= 0)[-1]) for own in ids]
    all_ends = np.zeros((len(ids), max(counts)), np.int64)
    all_ids = np.full_like(all_ends, -1)
    for row, (own_ends, own_ids, count) in enumerate(zip(ends, ids, counts, strict=True)):
        all_ends[row, :count], all_ids[row, :count] = own_ends[:count], own_ids[:count]
        all_ends[row, count:] = own_ends[count - 1] if count else 0
    return Stretches(FrozenArray(all_ends), FrozenArray(all_ids))
