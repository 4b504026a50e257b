"""Assign documents to rows, and to places in the rows."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from attnmask.conventions import IntArray
from attnmask.hf.packing.packed_mask import DocumentLayout


class RowOrder(StrEnum):
    """How documents are assigned to rows."""

    FIRST_FIT_DECREASING = "first-fit-decreasing"
    ARRIVAL = "arrival"
    APART = "apart"


def pack(lengths: IntArray, row_tokens: int, order: RowOrder) -> list[DocumentLayout]:
    """Put documents into rows.

    Args:
        lengths: tokens of each document, (N, sides): one side, or encoder and decoder, of which a document has the
            same row in both. No length may exceed ``row_tokens``.
        row_tokens: maximum number of tokens in a row. order: how documents are assigned to rows.

    Returns:
        For each side, the places of its documents in the order given.

    >>> [layout] = pack(np.array([[2], [3], [1]]), 4, RowOrder.FIRST_FIT_DECREASING)
    >>> layout.rows.tolist(), layout.starts.tolist()
    ([1, 0, 0], [0, 0, 3])
    """
    count, sides = lengths.shape
    used = np.zeros((count, sides), dtype=np.int64)
    rows, starts = np.zeros(count, dtype=np.int64), np.zeros((count, sides), dtype=np.int64)
    decreasing = order is RowOrder.FIRST_FIT_DECREASING
    begun = 0  # number of rows that hold a document
    for at in np.argsort(-lengths.max(1), kind="stable") if decreasing else range(count):
        first = {RowOrder.APART: begun, RowOrder.ARRIVAL: max(begun - 1, 0)}.get(order, 0)
        # The row after the last one begun is empty and always fits, so that argmax finds a row.
        fits = (used[first : begun + 1] + lengths[at] <= row_tokens).all(1)
        row = first + int(fits.argmax())
        rows[at], starts[at] = row, used[row]
        used[row] += lengths[at]
        begun = max(begun, row + 1)
    return [DocumentLayout(rows, starts[:, side], lengths[:, side]) for side in range(sides)]
