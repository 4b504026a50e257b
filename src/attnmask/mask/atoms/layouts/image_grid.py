"""Neighbourhoods on an image whose rows follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import one_of, positive_number, whole_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Bounds, Mask
from attnmask.mask.tables.lookup_tables import ragged_indices


class Border(StrEnum):
    """What a neighbourhood does at the border of the image."""

    CLIP = "clip"
    NATTEN = "natten"


@dataclass(frozen=True, repr=False)
class Grid(Atom):
    height: int
    width: int
    radius: int
    border: Border

    def attends(self, at: Points) -> BoolArray:
        size = self.height * self.width
        on_image = (at.q >= 0) & (at.q < size) & (at.k < size)
        top, bottom = self._reach(at.q // self.width, self.height)
        left, right = self._reach(at.q % self.width, self.width)
        row, column = at.k // self.width, at.k % self.width
        return on_image & (top <= row) & (row < bottom) & (left <= column) & (column < right)

    def bounds(self, domain: Domain) -> Bounds:
        q = domain.positions
        top, bottom = self._reach(q // self.width, self.height)
        left, right = self._reach(q % self.width, self.width)
        # Lines beyond the keys would be cut off: there may be very many of them.
        bottom = np.maximum(np.minimum(bottom, -(-domain.K // self.width)), top)
        # Rows that are seen from end to end touch each other, and are one run.
        whole = right - left == self.width
        on_image = (q >= 0) & (q < self.height * self.width)
        counts = np.where(on_image, np.where(whole, 1, bottom - top), 0)
        length = np.where(whole, (bottom - top) * self.width, right - left)
        line = ragged_indices(np.zeros(len(q), dtype=np.int64), counts)
        starts = np.repeat(top * self.width + left, counts) + self.width * line
        return Bounds((1, 1, domain.Q), starts, starts + np.repeat(length, counts), counts[None, None])

    def arguments(self) -> dict[str, object]:
        return {"height": self.height, "width": self.width, "radius": self.radius, "border": self.border.value}

    def _reach(self, place: IntArray, size: int) -> tuple[IntArray, IntArray]:
        """First and last + 1 row, or column, that is seen from one."""
        if self.border is Border.CLIP:
            return np.maximum(place - self.radius, 0), np.minimum(place + self.radius + 1, size)
        first = np.clip(place - self.radius, 0, size - 2 * self.radius - 1)
        return first, first + 2 * self.radius + 1


@public
def grid(height: int, width: int, radius: int, border: str = "clip") -> Mask:
    """Pixels see their neighbours; attends iff q and k are on the image, and rows and columns are at most radius apart.

    Position ``row * width + column`` is a pixel; positions beyond the image see nothing and are not seen.

    Args:
        height, width: rows and columns of the image, in pixels or patches.
        radius: neighbours on each side, in rows and in columns.
        border: "clip" cuts the neighbourhood at the border; "natten" moves it inwards, so that every pixel sees
            (2 * radius + 1) ** 2 others.

    Returns:
        A mask.

    Raises:
        ArgumentError: sizes below 1, a negative radius, or a "natten" neighbourhood larger than the image.

    Source: Hassani et al. 2023, "Neighborhood Attention Transformer".

    >>> from attnmask.mask.reference import grid as show
    >>> print(show(grid(height=2, width=3, radius=1), q=6))
    1 1 0 1 1 0
    1 1 1 1 1 1
    0 1 1 0 1 1
    1 1 0 1 1 0
    1 1 1 1 1 1
    0 1 1 0 1 1
    """
    rows, columns = positive_number(height, "height", "grid"), positive_number(width, "width", "grid")
    reach, rule = whole_number(radius, "radius", "grid"), one_of(Border, border, "border", "grid")
    whole_number(rows * columns, "height * width", "grid")
    if rule is Border.NATTEN and 2 * reach + 1 > min(rows, columns):
        raise ArgumentError(
            f"a neighbourhood of {2 * reach + 1} does not fit into {rows} x {columns}",
            where='grid(border="natten")',
            fix='give a smaller radius, or border="clip"',
        )
    return Grid(rows, columns, reach, rule)
