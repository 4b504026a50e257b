"""The same values in memory layouts that tensors come in."""

from __future__ import annotations

import random

import torch
from torch import Tensor

HUGE = 1e4


def laid_out(x: Tensor, chance: random.Random) -> Tensor:
    """A tensor of the same values; its memory is laid out otherwise, and what lies beside it is NaN."""
    if not x.numel() or not x.ndim:
        return x
    return chance.choice(LAYOUTS)(x, chance)


def _surrounded(x: Tensor, chance: random.Random) -> Tensor:
    """In the middle of a larger tensor, with a storage offset."""
    room = torch.full([size + 2 for size in x.shape], torch.nan, dtype=x.dtype)
    inner = room[tuple(slice(1, -1) for _ in x.shape)]
    return inner.copy_(x)


def _every_other(x: Tensor, chance: random.Random) -> Tensor:
    axis = chance.randrange(x.ndim)
    shape = [size * (2 if one == axis else 1) for one, size in enumerate(x.shape)]
    room = torch.full(shape, torch.nan, dtype=x.dtype)
    return room[tuple(slice(None, None, 2) if one == axis else slice(None) for one in range(x.ndim))].copy_(x)


def _permuted(x: Tensor, chance: random.Random) -> Tensor:
    order = chance.sample(range(x.ndim), x.ndim)
    back = [order.index(axis) for axis in range(x.ndim)]
    return x.permute(order).contiguous().permute(back)


def _one_of_many(x: Tensor, chance: random.Random) -> Tensor:
    """As ``unbind(-1)`` or a slice of a projection for q, k and v gives it."""
    axis = chance.choice((0, -1))
    room = torch.full([*x.shape, 3] if axis else [3, *x.shape], torch.nan, dtype=x.dtype)
    return room.select(axis, 1).copy_(x)


def _expanded(x: Tensor, chance: random.Random) -> Tensor:
    """One slice of an axis for all: other values, and a stride of 0."""
    axis = chance.randrange(x.ndim)
    # What is NaN, infinite or huge must stay at the keys where it was put.
    return x.narrow(axis, 0, 1).clone().expand(x.shape) if bool((x.abs() < HUGE).all()) else x


LAYOUTS = (
    lambda x, chance: x,
    lambda x, chance: x.mT.contiguous().mT if x.ndim > 1 else x,
    lambda x, chance: x.transpose(1, 2).contiguous().transpose(1, 2) if x.ndim > 2 else x,
    _surrounded,
    _every_other,
    _permuted,
    _one_of_many,
    _expanded,
)
