"""Which documents share a row, and where in it they lie."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from attnmask.conventions import IntArray
from attnmask.hf.packing.packed_mask import DocumentLayout


class RowOrder(StrEnum):
    """Which documents share a row."""

    FIRST_FIT_DECREASING = "first-fit-decreasing"
    ARRIVAL = "arrival"
    APART = "apart"


def pack(lengths: IntArray, row_tokens: int, order: RowOrder) -> list[DocumentLayout]:
    """Put documents into rows.

    Args:
        lengths: tokens of each document, (N, sides): one side, or those of an encoder and of a decoder, whose
            documents share rows. None is longer than a row.
        row_tokens: tokens of a row, at most. order: which documents share one.

    Returns:
        For each side where its documents lie, in the order given.

    >>> [layout] = pack(np.array([[2], [3], [1]]), 4, RowOrder.FIRST_FIT_DECREASING)
    >>> layout.rows.tolist(), layout.starts.tolist()
    ([1, 0, 0], [0, 0, 3])
    """
    count, sides = lengths.shape
    used = np.zeros((count, sides), dtype=np.int64)
    rows, starts = np.zeros(count, dtype=np.int64), np.zeros((count, sides), dtype=np.int64)
    decreasing = order is RowOrder.FIRST_FIT_DECREASING
    begun = 0  # rows with a document
    for at in np.argsort(-lengths.max(1), kind="stable") if decreasing else range(count):
        first = {RowOrder.APART: begun, RowOrder.ARRIVAL: max(begun - 1, 0)}.get(order, 0)
        fits = (used[first : begun + 1] + lengths[at] <= row_tokens).all(1)
        row = first + int(fits.argmax())
        rows[at], starts[at] = row, used[row]
        used[row] += lengths[at]
        begun = max(begun, row + 1)
    return [DocumentLayout(rows, starts[:, side], lengths[:, side]) for side in range(sides)]
