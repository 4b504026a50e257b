"""Factories and models that end their process, or try to."""

from __future__ import annotations

import os
import sys
import warnings
from typing import NoReturn

from torch import Tensor, nn


class Careless(nn.Module):
    """An encoder that ignores its padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.layer(self.table(input_ids))


def careless() -> nn.Module:
    return Careless()


def exits() -> NoReturn:
    sys.exit(0)


def exits_at_once() -> NoReturn:
    os._exit(0)


def interrupts() -> NoReturn:
    raise KeyboardInterrupt


def exhausts_memory() -> NoReturn:
    raise MemoryError


def recurses() -> NoReturn:
    recurses()


def warns() -> NoReturn:
    raise UserWarning("\x1b[31ma warning as an error")


def raises_all() -> NoReturn:
    warnings.warn("now", stacklevel=1)
    raise ExceptionGroup("all", [ValueError("\x1b[31ma"), OSError("b")])


class _Leaving(Careless):
    def __init__(self, at_once: bool) -> None:
        super().__init__()
        self.at_once, self.left = at_once, 4

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            exits_at_once() if self.at_once else exits()
        return super().forward(input_ids, attention_mask)


def exits_later() -> nn.Module:
    return _Leaving(False)


def exits_at_once_later() -> nn.Module:
    return _Leaving(True)
