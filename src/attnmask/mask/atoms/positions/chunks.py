"""Chunks: a query attends to the keys of its own chunk of positions."""

from __future__ import annotations

from dataclasses import dataclass

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import positive_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask


@dataclass(frozen=True, repr=False)
class Chunked(Atom):
    size: int

    def attends(self, at: Points) -> BoolArray:
        return at.q // self.size == at.k // self.size

    def bounds(self, domain: Domain) -> Bounds:
        first = domain.positions // self.size * self.size
        return Bounds((1, 1, domain.Q), first, first + self.size)

    def arguments(self) -> dict[str, object]:
        return {"size": self.size}


@public
def chunked(size: int) -> Mask:
    """Queries see their own chunk of positions; attends iff q // size == k // size.

    Chunked attention of a decoder is ``causal() & chunked(size)``.

    Args:
        size: positions of a chunk, 1 or more.

    Returns:
        A mask.

    Raises:
        ArgumentError: size is no whole number, or below 1.

    Source: Llama 4, ``attention_chunk_size`` of transformers.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(chunked(2), q=4))
    1 1 0 0
    1 1 0 0
    0 0 1 1
    0 0 1 1
    """
    return Chunked(positive_number(size, "size", "chunked"))
