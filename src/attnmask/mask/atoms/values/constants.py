"""The two constant masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask

ONE_ROW = (1, 1, 1)


@dataclass(frozen=True, repr=False)
class Full(Atom):
    def attends(self, at: Points) -> BoolArray:
        return np.ones((1, 1, 1, 1), dtype=bool)

    def bounds(self, domain: Domain) -> Bounds:
        return Bounds(ONE_ROW, np.array([0]), np.array([domain.K]))


@dataclass(frozen=True, repr=False)
class Empty(Atom):
    def attends(self, at: Points) -> BoolArray:
        return np.zeros((1, 1, 1, 1), dtype=bool)

    def bounds(self, domain: Domain) -> Bounds:
        return Bounds(ONE_ROW, np.array([0]), np.array([0]))


@public
def full() -> Mask:
    """Every query attends to every key; attends iff true.

    Returns:
        A mask.

    Source: an unmasked encoder, Vaswani et al. 2017, "Attention Is All You Need".

    >>> from attnmask.mask.reference import grid
    >>> print(grid(full(), q=2, k=3))
    1 1 1
    1 1 1
    """
    return Full()


@public
def empty() -> Mask:
    """No query attends to any key; attends iff false.

    Returns:
        A mask, the neutral element of ``|``.

    Source: attnmask; attention under it is exactly 0.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(empty(), q=2, k=3))
    0 0 0
    0 0 0
    """
    return Empty()
