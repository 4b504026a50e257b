"""Causal between blocks, open within: block-wise generation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import positive_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expr import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class BlockCausal(Atom):
    size: int

    def attends(self, at: Points) -> BoolArray:
        return at.k // self.size <= at.q // self.size

    def bounds(self, domain: Domain) -> Bounds:
        return Bounds((1, 1, domain.Q), np.array([0]), (domain.positions // self.size + 1) * self.size)

    def arguments(self) -> dict[str, object]:
        return {"size": self.size}

    def __repr__(self) -> str:
        return f"block_causal(size={self.size})"


@public
def block_causal(size: int) -> Mask:
    """Queries see all earlier blocks and the whole of their own; attends iff k // size <= q // size.

    Args:
        size: positions of a block, 1 or more; 1 is causal.

    Returns:
        A mask.

    Raises:
        ArgumentError: size is no whole number, or below 1.

    Source: Arriola et al. 2025, "Block Diffusion", its clean half.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(block_causal(2), q=4))
    1 1 0 0
    1 1 0 0
    1 1 1 1
    1 1 1 1
    """
    return BlockCausal(positive_number(size, "size", "block_causal"))
