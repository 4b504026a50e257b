"""Dilation: every n-th key, counted from the query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import positive_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, KeyRange, Mask, all_keys
from attnmask.mask.tables.lookup_tables import ragged_indices


@dataclass(frozen=True, repr=False)
class Dilated(Atom):
    step: int

    @property
    def costly(self) -> bool:
        return True

    def attends(self, at: Points) -> BoolArray:
        return (at.q - at.k) % self.step == 0

    def bounds(self, domain: Domain) -> Bounds:
        return self.bounds_within(domain, all_keys(domain))

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        if self.step == 1:
            return Bounds((1, 1, 1), np.array([0]), np.array([domain.K]))
        first = within.starts + (domain.positions - within.starts) % self.step
        counts = np.maximum(-(-(within.stops - first) // self.step), 0)
        number = ragged_indices(np.zeros(counts.size, dtype=np.int64), counts.reshape(-1))
        starts = np.repeat(first.reshape(-1), counts.reshape(-1)) + self.step * number
        return Bounds((counts.shape[0], counts.shape[1], domain.Q), starts, starts + 1, counts)

    def arguments(self) -> dict[str, object]:
        return {"step": self.step}


@public
def dilated(step: int) -> Mask:
    """Queries see every step-th key, both ways; attends iff (q - k) % step == 0.

    By itself it has K / step runs of keys a row: combine it, as in ``dilated(2) & window(left=1023, right=0)``.

    Args:
        step: 1 or more.

    Returns:
        A mask.

    Raises:
        ArgumentError: step is no whole number, or below 1.

    Source: Child et al. 2019, "Sparse Transformers" (strided); Beltagy et al. 2020, "Longformer" (dilated windows).

    >>> from attnmask.mask.reference import grid
    >>> print(grid(dilated(2), q=4))
    1 0 1 0
    0 1 0 1
    1 0 1 0
    0 1 0 1
    """
    return Dilated(positive_number(step, "step", "dilated"))
