"""What an audit may change while it runs, and leaves as it found it."""

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
def global_state_kept() -> Generator[None]:
    """Put back random numbers, warning filters, and torch's dtype, threads and grad mode, also after an error.

    >>> random.seed(0)
    >>> with global_state_kept():
    ...     first = random.random()
    >>> random.random() == first
    True
    """
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
    with ExitStack() as kept:
        kept.callback(random.setstate, drawn)
        kept.callback(np.random.set_state, drawn_by_numpy)
        kept.enter_context(warnings.catch_warnings())
        if "torch" in sys.modules:  # an audit of a metric or a collator needs none
            _keep_state_of_torch(kept)
        yield


def _keep_state_of_torch(kept: ExitStack) -> None:
    import torch

    devices = [*range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
    kept.enter_context(cast(Any, torch.random.fork_rng(devices)))
    kept.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
    kept.callback(torch.set_default_dtype, torch.get_default_dtype())
    kept.callback(_set_threads, torch.get_num_threads())


def _set_threads(count: int) -> None:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@contextmanager
def one_thread_if_tiny(model: nn.Module) -> Generator[None]:
    """Threads wait for each other longer than small tensors take."""
    import torch

    threads = torch.get_num_threads()
    is_tiny = sum(parameter.numel() for parameter in model.parameters()) < TINY
    torch.set_num_threads(1 if is_tiny else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def model_kept(model: nn.Module) -> Generator[None]:
    """Put back the buffers and the modes of a model that is run itself, and not a copy of it."""
    modules = list(cast(Any, model).modules())
    modes = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    values = [{name: _copy_of(buffer) for name, buffer in own.items()} for own in buffers]
    try:
        yield
    finally:
        for module, mode, own, before in zip(modules, modes, buffers, values, strict=True):
            module.training = mode
            module._buffers.update(own)
            for name, value in before.items():
                if value is not None and not _same(own[name], value):
                    own[name].copy_(value)


def _copy_of(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.detach().clone()


def _same(one: Any, other: Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())
