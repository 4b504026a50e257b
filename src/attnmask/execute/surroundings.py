"""What surrounds a call of ``attention``: torch's function transforms, and a forked process."""

from __future__ import annotations

import os
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from attnmask.calls import warn_caller
from attnmask.errors import ArgumentError
from attnmask.execute.native.kernel_library import SlowAttentionWarning

# What torch declares to nobody, but all of its own function transforms ask.
_torch: Any = cast(Any, torch)


def inside_function_transform() -> bool:
    """Whether a call runs under torch.func: vmap, grad, jvp and what is made of them."""
    return _torch._C._are_functorch_transforms_active()


def transform_around(*tensors: Tensor) -> str | None:
    """The transform of torch under which a call runs that only plain operations can follow, in words."""
    if inside_function_transform():
        return "the call is inside a torch.func transform (vmap, grad, jvp)"
    if any(forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        return "the tensors carry forward-mode derivatives"
    return None


def refuse_tracing() -> None:
    """Raise under ``torch.jit.trace``, which would record the checks of one input as if they held for all."""
    if _torch.jit.is_tracing():
        raise ArgumentError(
            "the call is inside torch.jit.trace",
            where="attention",
            fix="use torch.compile, which runs it between graphs",
        )


def refuse_derivatives_of_gradients(grad: Tensor) -> None:
    """Raise where a gradient itself is to be differentiated or batched: the kernels' backward can be neither."""
    if torch.is_grad_enabled():
        raise ArgumentError(
            "the native and tiled backends have no second derivative",
            where="attention, under create_graph=True",
            fix='use attention(..., backend="dense")',
        )
    functorch = _torch._C._functorch
    if functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad):
        raise ArgumentError(
            "the native and tiled backends take one gradient at a time",
            where="attention, under is_grads_batched=True or vectorize=True",
            fix='use attention(..., backend="dense")',
        )


class _Process:
    """What this process has done, or was forked from."""

    attended = False
    forked = False
    limited = False


def _after_fork() -> None:
    _Process.forked = True
    if _Process.attended:
        _limit_threads()


def _limit_threads() -> None:
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _Process.limited = True


os.register_at_fork(after_in_child=_after_fork)


def use_one_thread_if_forked() -> None:
    """Set torch to one thread in a forked process, and say so once.

    The threads of the parent's pool do not exist in the child, so that whatever waits for them, be it torch's own
    operations, waits forever. Where the parent has used attention, that is done as soon as the child begins. A worker
    of a DataLoader has one thread already.
    """
    _Process.attended = True
    if not _Process.forked:
        return
    _limit_threads()
    if _Process.limited:
        _Process.limited = False
        warn_caller(
            SlowAttentionWarning(
                "this process was forked and has none of its parent's threads, so torch is set to one thread in it; "
                'start it by the "spawn" method to use more'
            )
        )
