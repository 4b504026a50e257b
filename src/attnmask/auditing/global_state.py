"""Context managers that restore the global state, or the state of a model, that an audit may change."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

# Parameters.
TINY = 5_000_000


@contextmanager
def global_state_restored() -> Generator[None]:
    """Restore random states, warning filters, and torch's default dtype, threads and grad mode, also after an error.

    >>> random.seed(0)
    >>> with global_state_restored():
    ...     first = random.random()
    >>> random.random() == first
    True
    """
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
    with ExitStack() as undo:
        undo.callback(random.setstate, drawn)
        undo.callback(np.random.set_state, drawn_by_numpy)
        undo.enter_context(warnings.catch_warnings())
        if "torch" in sys.modules:  # audits of metrics and collators do not import torch
            _restore_torch_state_later(undo)
        yield


def _restore_torch_state_later(undo: ExitStack) -> None:
    import torch

    devices = [*range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
    undo.enter_context(cast(Any, torch.random.fork_rng(devices)))
    undo.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
    undo.callback(torch.set_default_dtype, torch.get_default_dtype())
    undo.callback(_set_threads, torch.get_num_threads())


def _set_threads(count: int) -> None:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@contextmanager
def one_thread_if_tiny(model: nn.Module) -> Generator[None]:
    """Run a tiny model on one thread: several would wait for each other longer than they compute."""
    import torch

    threads = torch.get_num_threads()
    is_tiny = sum(parameter.numel() for parameter in model.parameters()) < TINY
    torch.set_num_threads(1 if is_tiny else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def model_state_restored(model: nn.Module) -> Generator[None]:
    """Restore the buffers and training modes of a model that runs itself instead of a copy."""
    modules = list(cast(Any, model).modules())
    modes = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    values = [{name: _cloned(buffer) for name, buffer in own.items()} for own in buffers]
    try:
        yield
    finally:
        # A forward pass may replace a buffer or write into it: restore the tensors first, then their values.
        for module, mode, own, before in zip(modules, modes, buffers, values, strict=True):
            module.training = mode
            module._buffers.update(own)
            for name, value in before.items():
                if value is not None and not _same(own[name], value):
                    own[name].copy_(value)


def _cloned(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.detach().clone()


# NaN counts as equal to NaN, so that a buffer of NaNs is not written to without need.
def _same(one: Any, other: Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())
