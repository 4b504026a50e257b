"""The domain of an evaluation: batch items, heads, queries and keys, and the position of query row 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError


@dataclass(frozen=True)
class Domain:
    """The box of (b, h, row, k) on which a mask is evaluated.

    Attributes:
        B, H, Q, K: lengths of the axes batch, head, query and key.
        offset: query row ``i`` stands at position ``i + offset``.
        shift: rows by which an enclosing ``.shift(n)`` moves the queries; 0 outside one.
    """

    B: int
    H: int
    Q: int
    K: int
    offset: int = 0
    shift: int = 0

    def __post_init__(self) -> None:
        for name, least in (("B", 1), ("H", 1), ("Q", 0), ("K", 0)):
            if getattr(self, name) < least:
                raise ArgumentError(
                    f"{name} is {getattr(self, name)}", where="Domain", fix=f"{name} is {least} or more"
                )

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row numbers, shape (Q,)."""
        return np.arange(self.shift, self.shift + self.Q, dtype=np.int64)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Absolute positions of the query rows, shape (Q,)."""
        first = self.shift + self.offset
        return np.arange(first, first + self.Q, dtype=np.int64)

    def shifted(self, n: int) -> Domain:
        """The same box with every query ``n`` positions later."""
        return replace(self, shift=self.shift + n)


@dataclass(frozen=True)
class Points:
    """Points of a domain, as arrays that broadcast against each other in the order b, h, q, k.

    Attributes:
        b, h: batch and head index. row: query row. q, k: absolute positions.
        domain: the box they come from.
    """

    b: IntArray
    h: IntArray
    row: IntArray
    q: IntArray
    k: IntArray
    domain: Domain

    def shifted(self, n: int) -> Points:
        """The same points with every query ``n`` positions later."""
        return replace(self, row=self.row + n, q=self.q + n)


def points_from_domain(domain: Domain) -> Points:
    """Every point of a domain."""
    rows = domain.rows[:, None]
    return Points(
        b=np.arange(domain.B)[:, None, None, None],
        h=np.arange(domain.H)[:, None, None],
        row=rows,
        q=rows + domain.offset,
        k=np.arange(domain.K),
        domain=domain,
    )


def point_at(domain: Domain, b: int, h: int, row: int, k: int) -> Points:
    """One point of a domain; indices as in the array (B, H, Q, K)."""
    at = [np.array(index).reshape(1, 1, 1, 1) for index in (b, h, row + domain.shift, k)]
    return Points(b=at[0], h=at[1], row=at[2], q=at[2] + domain.offset, k=at[3], domain=domain)
