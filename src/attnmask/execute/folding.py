"""Tensors in the layout that kernels need; batch items and heads laid end to end as one block-diagonal mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from attnmask.execute.tiles.rectangles import split_axis


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


def with_whole_rows(x: Tensor) -> Tensor:
    """The tensor with the elements of a row side by side and rows apart, copied if they are not.

    Kernels are given the strides of all axes but the last, which they take to be 1, and no stride between rows below
    their width: expanded, sliced or transposed tensors would be read beyond their memory. Nor do they know of the bit
    that makes a tensor the negative of what lies in memory.
    """
    x = x.resolve_neg()
    whole = x.stride(-1) == 1 and x.stride(-2) >= x.shape[-1]
    return x if whole else x.clone(memory_format=torch.contiguous_format)


def of_one_width(q: Tensor, k: Tensor, v: Tensor, multiple: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (..., D) filled up with zeros, which change no score and no sum, to one width."""
    wide = -(-max(q.shape[-1], v.shape[-1]) // multiple) * multiple
    q, k, v = (x if x.shape[-1] == wide else pad(x, (0, wide - x.shape[-1])) for x in (q, k, v))
    return q, k, v


def under_autocast(*tensors: Tensor) -> list[Tensor]:
    """What torch's own attention does of them: lower precision inside an autocast region, but for float64."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    lower = torch.get_autocast_dtype(device)
    lowered = (torch.float32, torch.float16, torch.bfloat16)
    return [x.to(lower) if x.dtype in lowered else x for x in tensors]
