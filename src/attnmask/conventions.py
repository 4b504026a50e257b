"""The answers to the questions on which libraries disagree; each has one name here and no second home.

| question | answer |
|---|---|
| polarity | True attends, everywhere inside; the flips are the two functions below |
| positions | query row ``i`` stands at position ``i + offset`` |
| window | ``window(left, right)`` counts the neighbours on each side, self not counted |
| a row with no key | output 0, log-sum-exp -inf, gradients 0 |
| axes | ``b h q k``; attention tensors are ``(B, H, L, D)`` |
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer]


class TileState(IntEnum):
    """What a tile of the (query, key) plane holds."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


class Align(StrEnum):
    """How queries and keys line up where their numbers differ."""

    START = "start"
    END = "end"


class Side(StrEnum):
    """The end of a sequence at which padding stands."""

    RIGHT = "right"
    LEFT = "left"


class Of(StrEnum):
    """Which axis a padding mask speaks about."""

    KEYS = "keys"
    QUERIES = "queries"
    BOTH = "both"


def offset_from_align(align: Align, queries: int, keys: int) -> int:
    """Position of query row 0 when the first, or the last, query and key stand together.

    >>> offset_from_align(Align.START, 2, 5), offset_from_align(Align.END, 2, 5)
    (0, 3)
    """
    return 0 if align is Align.START else keys - queries


def attends_from_masked_out(masked_out: BoolArray) -> BoolArray:
    """Flip an array in which True drops a pair (torch.nn.MultiheadAttention, TransformerEngine)."""
    return ~masked_out


def masked_out_from_attends(attends: BoolArray) -> BoolArray:
    """Flip an array in which True keeps a pair into one in which True drops it."""
    return ~attends
