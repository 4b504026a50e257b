"""A model that is run in another state than it was found in, and is as it was afterwards, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from torch import nn

from attnmask.hf.interface import NAME, register
from attnmask.hf.linear import pack_linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Packing reads every weight once and more: a few rows do not earn that back.
LEAST_ROWS = 4


def _nothing() -> None: ...


@dataclass
class _State:
    """How a model was found, and how many calls have borrowed it since."""

    implementation: str
    in_training: list[nn.Module]
    unpack: Callable[[], None]
    borrowers: int = 0


_borrowed: WeakKeyDictionary[PreTrainedModel, _State] = WeakKeyDictionary()
_lock = Lock()


@contextmanager
def borrowed(model: PreTrainedModel, row_tokens: int, rows: int) -> Generator[None]:
    """A model in evaluation mode and under ``attn_implementation="attnmask"``, its linear layers packed for many rows.

    Several threads may borrow one model: the last to leave puts back what the first found.

    Args:
        model: of transformers.
        row_tokens: tokens of the rows it will mostly get. rows: how many those are.
    """
    register()
    with _lock:
        state = _borrowed.get(model)
        if state is None:
            training = [module for module in model.modules() if module.training]
            implementation = str(model.config._attn_implementation)  # pyright: ignore[reportPrivateUsage]
            unpack = pack_linears(model, row_tokens) if rows >= LEAST_ROWS else _nothing
            state = _borrowed[model] = _State(implementation, training, unpack)
            model.eval()
            model.set_attn_implementation(NAME)
        state.borrowers += 1
    try:
        yield
    finally:
        with _lock:
            state.borrowers -= 1
            if not state.borrowers:
                del _borrowed[model]
                state.unpack()
                model.set_attn_implementation(state.implementation)
                for module in state.in_training:
                    module.training = True
