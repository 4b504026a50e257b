"""The causal mask: no query attends to later keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class Causal(Atom):
    def attends(self, at: Points) -> BoolArray:
        return at.k <= at.q

    def bounds(self, domain: Domain) -> Bounds:
        return Bounds((1, 1, domain.Q), np.array([0]), domain.positions + 1)


@public
def causal() -> Mask:
    """Each query sees its own position and those before it; attends iff k <= q.

    Where queries and keys differ in number, the position of a query is its row plus the offset
    given to ``compile``.

    Returns:
        A mask.

    Source: decoder self-attention, Vaswani et al. 2017, "Attention Is All You Need".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(causal(), q=3))
    1 0 0
    1 1 0
    1 1 1
    >>> print(grid(causal(), q=2, k=4, offset=2))
    1 1 1 0
    1 1 1 1
    """
    return Causal()
