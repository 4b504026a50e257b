"""What runs around a call of ``attention``: torch's function transforms, and the process that was forked."""

from __future__ import annotations

import os
import warnings
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from attnmask.errors import ArgumentError
from attnmask.execute.native.build import SlowAttentionWarning

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
    """Whether this process was forked from one that may have used torch's threads."""

    forked = False
    warned = False


def _note_fork() -> None:
    _Process.forked, _Process.warned = True, False


os.register_at_fork(after_in_child=_note_fork)


def use_one_thread_if_forked() -> None:
    """Set torch to one thread in a forked process.

    The threads of the parent's pool do not exist in the child, so that whatever waits for them, be it torch's own
    operations, waits forever. A worker of a DataLoader has one thread already.
    """
    if not _Process.forked or torch.get_num_threads() == 1:
        return
    torch.set_num_threads(1)
    if not _Process.warned:
        _Process.warned = True
        warnings.warn(
            SlowAttentionWarning(
                "this process was forked and has none of its parent's threads, so torch is set to one thread in it; "
                'start it by the "spawn" method to use more'
            ),
            stacklevel=4,
        )
