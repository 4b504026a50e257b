"""The sliding window: a query attends to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class Window(Atom):
    left: int | None
    right: int | None

    def attends(self, at: Points) -> BoolArray:
        near_left = np.True_ if self.left is None else at.q - at.k <= self.left
        near_right = np.True_ if self.right is None else at.k - at.q <= self.right
        return np.broadcast_to(near_left & near_right, np.broadcast_shapes(at.q.shape, at.k.shape))

    def bounds(self, domain: Domain) -> Bounds:
        q = domain.positions
        starts = np.array([0]) if self.left is None else q - self.left
        stops = np.array([domain.K]) if self.right is None else q + self.right + 1
        return Bounds((1, 1, domain.Q), starts, stops)

    def arguments(self) -> dict[str, object]:
        return {"left": self.left, "right": self.right}


@public
def window(left: int | None, right: int | None) -> Mask:
    """Each query sees itself, ``left`` keys before it and ``right`` after it; attends iff -right <= q - k <= left.

    Self is not counted: the window keeps left + 1 + right keys. Transformers' ``sliding_window=W`` of a causal
    model is ``causal() & window(left=W - 1, right=0)``; flash-attention's ``window_size=(l, r)`` is ``window(l, r)``.

    Args:
        left: keys seen before the query, in positions; None for no bound.
        right: keys seen after the query, in positions; None for no bound.

    Returns:
        A mask.

    Raises:
        ArgumentError: a side is negative or no whole number.

    Source: Beltagy et al. 2020, "Longformer"; flash-attention's (left, right) pair.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(window(left=1, right=0), q=4))
    1 0 0 0
    1 1 0 0
    0 1 1 0
    0 0 1 1
    """
    sides = {"left": left, "right": right}
    given = {name: None if n is None else whole_number(n, name, "window") for name, n in sides.items()}
    return Window(given["left"], given["right"])
