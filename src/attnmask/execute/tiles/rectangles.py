"""Rectangles of attention tensors: views where the corners are evenly spaced, copies elsewhere."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from attnmask.compiler.runs import Int64


class Slabs:
    """Equally long stretches of tokens, read from and written to (B, H, L, ...) tensors as (B * n, H, length, ...).

    Args:
        starts: first token of each of the n stretches, int64 (n,).
        length: tokens of a stretch.
        device: where the tensors are.
    """

    def __init__(self, starts: Int64, length: int, device: torch.device) -> None:
        self.first, self.count, self.length = int(starts[0]), len(starts), length
        steps = starts[1:] - starts[:-1]
        self.step = int(steps[0]) if len(steps) else length
        self.even = bool((steps == self.step).all()) and self.step > 0
        self.overlap = not self.even or self.step < length
        self.index: Tensor | None = None
        if not self.even or (self.overlap and self.count > 1):
            corners = torch.from_numpy(starts).to(device)
            self.index = (corners[:, None] + torch.arange(length, device=device)).reshape(-1)

    def read(self, x: Tensor) -> Tensor:
        """The stretches of ``x``, batched."""
        if self.count == 1:
            return x[:, :, self.first : self.first + self.length]
        return self._split(x).movedim(2, 1).flatten(0, 1)

    def write(self, x: Tensor, values: Tensor) -> None:
        """Overwrite the stretches of ``x``; they must not overlap."""
        if self.count == 1:
            x[:, :, self.first : self.first + self.length] = values
        elif self.index is None:
            self._view(x).copy_(self._unbatched(x, values))
        else:
            x.index_copy_(2, self.index, self._unbatched(x, values).flatten(2, 3))

    def add(self, x: Tensor, values: Tensor) -> None:
        """Add to the stretches of ``x``, which may overlap."""
        if self.count == 1:
            x[:, :, self.first : self.first + self.length] += values
        elif self.index is None:
            self._view(x).add_(self._unbatched(x, values))
        else:
            x.index_add_(2, self.index, self._unbatched(x, values).flatten(2, 3).to(x.dtype))

    def _split(self, x: Tensor) -> Tensor:
        if self.even:
            return self._view(x)
        assert self.index is not None
        return split_axis(x.index_select(2, self.index), 2, (self.count, self.length))

    def _view(self, x: Tensor) -> Tensor:
        size = (*x.shape[:2], self.count, self.length, *x.shape[3:])
        along = x.stride(2)
        stride = (*x.stride()[:2], self.step * along, along, *x.stride()[3:])
        return x.as_strided(size, stride, x.storage_offset() + self.first * along)

    def _unbatched(self, x: Tensor, values: Tensor) -> Tensor:
        return split_axis(values, 0, (x.shape[0], self.count)).movedim(1, 2)


def split_axis(x: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """``x.unflatten(axis, sizes)``, with the type that torch does not declare."""
    return cast(Tensor, x.unflatten(axis, sizes))
