"""A mask for each head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.errors import ArgumentError
from attnmask.mask.domain import Points
from attnmask.mask.expression import Atom, Mask
from attnmask.mask.reference import attends


@dataclass(frozen=True, repr=False)
class PerHead(Atom):
    """Its runs are those of its masks: ``compiler/runs_from_mask.py`` puts them together."""

    masks: tuple[Mask, ...]

    def attends(self, at: Points) -> BoolArray:
        chosen = [(at.h == head) & attends(mask, at) for head, mask in enumerate(self.masks)]
        return np.logical_or.reduce(np.broadcast_arrays(*chosen))

    def sizes(self) -> dict[str, int]:
        return {"H": len(self.masks)}

    def inner(self) -> tuple[Mask, ...]:
        return self.masks

    def arguments(self) -> dict[str, object]:
        return {"masks": list(self.masks)}

    def __repr__(self) -> str:
        return f"per_head({list(self.masks)!r})"


@public
def per_head(masks: Sequence[Mask]) -> Mask:
    """Every head has a mask of its own; attends iff masks[h] attends.

    Args:
        masks: one for each head; the plan has as many heads, or 1 where all masks are the same set.

    Returns:
        A mask.

    Raises:
        ArgumentError: no masks.

    Source: Beltagy et al. 2020, "Longformer" (another dilation for every head).

    >>> from attnmask.mask.atoms import causal, full
    >>> from attnmask.mask.reference import grid
    >>> print(grid(per_head([full(), causal()]), q=2, head=1))
    1 0
    1 1
    """
    if not isinstance(masks, list | tuple) or not masks or not all(isinstance(mask, Mask) for mask in masks):
        got = f"{len(masks)} values" if isinstance(masks, list | tuple) else type(masks).__name__
        raise ArgumentError(f"masks is {got}", where="per_head(masks=)", fix="give a list with one mask for each head")
    return PerHead(tuple(masks))
