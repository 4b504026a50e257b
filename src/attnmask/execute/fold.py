"""Batch items and heads that a set depends on, laid end to end: a batch of masks becomes one block-diagonal mask."""

from __future__ import annotations

from torch import Tensor

from attnmask.execute.rectangles import split_axis


def folded(x: Tensor, items: bool, heads: bool) -> Tensor:
    """(B, H, L, ...) as (1, H, B * L, ...), (B, 1, H * L, ...) or (1, 1, B * H * L, ...)."""
    if heads:
        x = x.flatten(1, 2).unsqueeze(1)
    if items:
        x = x.transpose(1, 2).flatten(0, 1).unsqueeze(0).transpose(1, 2)
    return x


def unfolded(x: Tensor, like: Tensor, items: bool, heads: bool) -> Tensor:
    """The way back; the first three axes are those of ``like``."""
    b, h, length = like.shape[:3]
    if items:
        x = split_axis(x.transpose(1, 2).squeeze(0), 0, (b, -1)).transpose(1, 2)
    if heads:
        x = split_axis(x.squeeze(1), 1, (h, length))
    return x
