"""Tensors of given values laid out in memory in any way; what lies between their elements is NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def strided(x: Tensor, order: tuple[int, ...], steps: tuple[int, ...], offset: int) -> Tensor:
    """The values of ``x``, its axes from the outermost to the innermost in an order.

    Args:
        x: any values. order: a permutation of its axes. offset: of the first element.
        steps: per axis, how far its elements are apart; 0 repeats the first along it.
    """
    strides, stride = [0] * x.ndim, 1
    for axis in reversed(order):
        strides[axis] = stride * steps[axis]
        stride *= max(x.shape[axis] * steps[axis], 1)
    memory = x.new_full((stride + offset + 1,), torch.nan)
    view = memory.as_strided(x.shape, strides, offset)
    own = [slice(0, 1) if step == 0 else slice(None) for step in steps]
    view[*own] = x[*own]
    return view


def _plain(order: tuple[int, ...] = (0, 1, 2, 3), steps: tuple[int, ...] = (1, 1, 1, 1), offset: int = 0):
    return lambda x: strided(x, order, steps, offset)


def _overlapping(x: Tensor) -> Tensor:
    """Every row one element further than the row before."""
    b, h, length, d = x.shape
    memory = torch.cat([x.flatten(), x.new_full((b * h * length * d + d,), 0.5)])
    return memory.as_strided(x.shape, (h * length * d, length * d, 1, 1))


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": _plain(),
    "offset of one": _plain(offset=1),
    "heads inside": _plain((0, 2, 1, 3)),
    "last two transposed": _plain((0, 1, 3, 2)),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "all reversed": _plain((3, 2, 1, 0)),
    "every second element": _plain(steps=(1, 1, 1, 2)),
    "every third row": _plain(steps=(1, 1, 3, 1), offset=2),
    "unbound": lambda x: torch.stack([x, torch.full_like(x, torch.nan)], -1).unbind(-1)[0],
    "expanded elements": _plain(steps=(1, 1, 1, 0)),
    "expanded rows": _plain(steps=(1, 1, 0, 1)),
    "expanded heads": _plain(steps=(1, 0, 1, 1)),
    "one number": _plain(steps=(0, 0, 0, 0)),
    "overlapping": _overlapping,
    "negative bit": lambda x: torch._neg_view(-x),  # pyright: ignore
}


def any_layout(x: Tensor, rng: np.random.Generator) -> Tensor:
    """The values of ``x`` in a random layout; one in eight axes is expanded."""
    order = tuple(int(axis) for axis in rng.permutation(x.ndim))
    steps = tuple(int(step) for step in rng.choice([0, 1, 1, 1, 1, 1, 2, 3], x.ndim))
    return strided(x, order, steps, int(rng.integers(4)))
