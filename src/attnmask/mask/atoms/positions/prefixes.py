"""The prefix mask: every query attends to the first keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.arguments import lengths_per_item
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import look_up


@dataclass(frozen=True, repr=False)
class Prefix(Atom):
    lengths: FrozenArray

    def attends(self, at: Points) -> BoolArray:
        return at.k < look_up(self.lengths.values, at.b)

    def bounds(self, domain: Domain) -> Bounds:
        lengths = self.lengths.values
        return Bounds((len(lengths), 1, 1), np.array([0]), lengths[:, None, None])

    def sizes(self) -> dict[str, int]:
        return {"B": len(self.lengths.values)}

    def arguments(self) -> dict[str, object]:
        return {"lengths": self.lengths}


@public
def prefix(lengths: int | Sequence[int] | IntArray) -> Mask:
    """Every query sees the first keys of its batch item; attends iff k < lengths[b].

    A prefix language model is ``causal() | prefix(lengths)``.

    Args:
        lengths: tokens of the prefix, one number for all items or shape (B,).

    Returns:
        A mask.

    Raises:
        ArgumentError: a length is negative or no whole number.

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (prefix LM).

    >>> from attnmask.mask.atoms import causal
    >>> from attnmask.mask.reference import grid
    >>> print(grid(causal() | prefix(2), q=4))
    1 1 0 0
    1 1 0 0
    1 1 1 0
    1 1 1 1
    """
    return Prefix(lengths_per_item(lengths, "lengths", "prefix"))
