"""The dense mask: an array with a value for each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray
from attnmask.mask.arguments import bool_array
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.tables.lookup_tables import look_up, runs_of_rows


@dataclass(frozen=True, repr=False)
class Dense(Atom):
    array: FrozenArray
    by_row: ClassVar[bool] = True

    def attends(self, at: Points) -> BoolArray:
        rows, keys = self._four_axes().shape[2:]
        exists = (at.row >= 0) & (at.row < rows) & (at.k < keys)
        return exists & look_up(
            self._four_axes(), at.b, at.h, np.clip(at.row, 0, max(rows - 1, 0)), np.clip(at.k, 0, max(keys - 1, 0))
        )

    def bounds(self, domain: Domain) -> Bounds:
        array = self._four_axes()
        seen = np.zeros((*array.shape[:2], domain.Q, array.shape[3]), dtype=bool)
        known = (domain.rows >= 0) & (domain.rows < array.shape[2])
        seen[:, :, known] = array[:, :, domain.rows[known]]
        counts, starts, stops = runs_of_rows(seen)
        return Bounds(counts.shape, starts, stops, counts)

    def sizes(self) -> dict[str, int]:
        return dict(zip("BHQK", self._four_axes().shape, strict=True))

    def arguments(self) -> dict[str, object]:
        return {"array": self.array}

    def _four_axes(self) -> BoolArray:
        values = self.array.values
        return values[None, None] if values.ndim == 2 else values


@public
def dense(array: Any) -> Mask:
    """Each pair is looked up in an array; attends iff array[(b, h,) row, k].

    The array is indexed by the query's row, not by its position: an offset does not move it.

    Args:
        array: bool or 0/1 integers, True attends; shape (Q, K) or (B, H, Q, K), B and H may be 1.

    Returns:
        A mask.

    Raises:
        ArgumentError: another shape, or values other than 0 and 1.
        AmbiguousError: an array of floats, which may be additive.

    Source: the ``attn_mask`` of torch.nn.functional.scaled_dot_product_attention.

    >>> from attnmask.mask.reference import grid
    >>> print(grid(dense([[1, 0, 1], [0, 1, 0]]), q=2, k=3))
    1 0 1
    0 1 0
    """
    return Dense(FrozenArray(bool_array(array, "array", "dense", dims=(2, 4))))
