"""Attention sinks: every query attends to the first tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class Sinks(Atom):
    n: int

    def attends(self, at: Points) -> BoolArray:
        return at.k < self.n

    def bounds(self, domain: Domain) -> Bounds:
        return Bounds((1, 1, 1), np.array([0]), np.array([self.n]))

    def arguments(self) -> dict[str, object]:
        return {"n": self.n}


@public
def sinks(n: int) -> Mask:
    """Every query sees the first tokens; attends iff k < n.

    A streaming decoder is ``causal() & (window(left=w, right=0) | sinks(n))``.

    Args:
        n: tokens, 0 or more.

    Returns:
        A mask.

    Raises:
        ArgumentError: n is no whole number, or negative.

    Source: Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks".

    >>> from attnmask.mask.atoms import causal, window
    >>> from attnmask.mask.reference import grid
    >>> print(grid(causal() & (window(left=1, right=0) | sinks(1)), q=5))
    1 0 0 0 0
    1 1 0 0 0
    1 1 1 0 0
    1 0 1 1 0
    1 0 0 1 1
    """
    return Sinks(whole_number(n, "n", "sinks"))
