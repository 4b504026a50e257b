"""The padding mask of a batch of token ids, read from the pad id without a guess."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnmask.conventions import BoolArray, Side
from attnmask.errors import AmbiguousError
from attnmask.mask.arguments import ids_per_position, whole_number

WHERE = "padding(ids=, pad_id=)"
OTHERWISE = "or give attention_mask= or lengths=, which leave no doubt"


def attention_mask_from_ids(ids: Any, pad_id: Any, side: Side | None) -> BoolArray:
    """True where a token is text, shape (B, S).

    Args:
        ids: token ids, shape (S,) or (B, S).
        pad_id: the id that fills.
        side: the end that is filled; None if the caller did not say.

    Raises:
        AmbiguousError: pad ids stand where they may be either text or padding.
    """
    values = ids_per_position(ids, "ids", "padding")
    is_pad = values == whole_number(pad_id, "pad_id", "padding")
    at_left = np.logical_and.accumulate(is_pad, axis=1)
    at_right = np.logical_and.accumulate(is_pad[:, ::-1], axis=1)[:, ::-1]
    partly = ~is_pad.all(axis=1)
    if side is None:
        _refuse_unstated_side(at_left, partly, pad_id)
    filled, other = (at_left, at_right) if side is Side.LEFT else (at_right, at_left)
    _refuse_pads_at_other_end(other, partly, pad_id, side or Side.RIGHT)
    return ~filled


def _refuse_unstated_side(at_left: BoolArray, partly: BoolArray, pad_id: int) -> None:
    rows = np.flatnonzero(at_left.any(axis=1) & partly)
    if len(rows):
        raise AmbiguousError(
            f"row {rows[0]} begins with pad id {pad_id}: left padding, or a text that begins with that id",
            where=WHERE,
            fix=f'say side="left" or side="right", {OTHERWISE}',
        )


def _refuse_pads_at_other_end(other: BoolArray, partly: BoolArray, pad_id: int, side: Side) -> None:
    counts = other.sum(axis=1) * partly
    rows = np.flatnonzero(counts > 1)
    if len(rows):
        end = "begins" if side is Side.RIGHT else "ends"
        raise AmbiguousError(
            f"row {rows[0]} {end} with {counts[rows[0]]} pad ids {pad_id}, but the padding is on the {side.value}",
            where=WHERE,
            fix=f"check side=, {OTHERWISE}",
        )
