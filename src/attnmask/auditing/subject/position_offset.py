"""Run a text as if it began later in its row: offset the positions that a model counts or slices from a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class PositionOffset(TorchFunctionMode):
    """While it is active, positions that are counted up to the length of the text begin at ``start``.

    It changes torch.arange, and slices of the parameters and buffers of a model.

    >>> with PositionOffset(nn.Identity(), length=3, start=7):
    ...     print(torch.arange(3), torch.arange(4))
    tensor([7, 8, 9]) tensor([0, 1, 2, 3])
    """

    def __init__(self, model: nn.Module, length: int, start: int) -> None:
        super().__init__()
        self.length, self.start = length, start
        self.tables = {id(table) for table in (*model.parameters(), *model.buffers())}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__getitem__ and id(args[0]) in self.tables:
            return func(args[0], self._offset_index(args[0], args[1]))
        out = func(*args, **(kwargs or {}))
        return out + self.start if func is torch.arange and self._counts_the_text(out) else out

    def _counts_the_text(self, counted: Tensor) -> bool:
        return counted.shape == (self.length,) and int(counted[0]) == 0 and int(counted[-1]) == self.length - 1

    def _offset_index(self, table: Tensor, index: Any) -> tuple[Any, ...]:
        # A table that is too short for the offset is left alone.
        several = cast(tuple[Any, ...], index if isinstance(index, tuple) else (index,))
        return tuple(map(self._offset_slice, several)) if self._fits(table, several) else several

    def _fits(self, table: Tensor, index: tuple[Any, ...]) -> bool:
        sizes = [size for one, size in zip(index, table.shape, strict=False) if self._is_text_slice(one)]
        return all(size >= self.start + self.length for size in sizes)

    def _is_text_slice(self, one: Any) -> bool:
        return isinstance(one, slice) and (one.start or 0, one.step or 1, one.stop) == (0, 1, self.length)

    def _offset_slice(self, one: Any) -> Any:
        return slice(self.start, self.start + self.length) if self._is_text_slice(one) else one
