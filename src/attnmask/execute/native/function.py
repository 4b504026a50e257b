"""The native kernel as a differentiable function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnmask.compile.runs import Runs
from attnmask.execute.fold import folded, unfolded
from attnmask.execute.guard import emptied, keys_attended_by, nonfinite_rows, poisoned_rows_of
from attnmask.execute.rectangles import split_axis
from attnmask.execute.schedule import flat_runs
from attnmask.execute.tiled import refuse_second_derivative

DTYPES = (torch.float32, torch.bfloat16)


class NativeAttention(torch.autograd.Function):
    """``apply(q, k, v, runs, scale)`` -> output and log-sum-exp.

    q is (B, H, Q, D), k and v are (B, Hkv, K, D) with an even D, float32 or bfloat16. The log-sum-exp, in float32, has
    no gradient. The kernel tells whether a non-finite number may have come from where it must not; only then are the
    tensors searched.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, runs: Runs, scale: float) -> tuple[Tensor, Tensor]:
        set_of = tuple(torch.tensor(array) for array in (runs.indptr, runs.starts, runs.stops))
        out, lse, finite = torch.ops.attnmask.forward(q, k, v, *set_of, runs.shape[0], scale)
        poisoned = None
        if not finite:
            bad_rows, bad_keys = nonfinite_rows(q), nonfinite_rows(k, v)
            q, k, v = emptied(q, bad_rows), emptied(k, bad_keys), emptied(v, bad_keys)
            out, lse, _ = torch.ops.attnmask.forward(q, k, v, *set_of, runs.shape[0], scale)
            poisoned = poisoned_rows_of(runs, bad_rows, bad_keys, q)
            out, lse = emptied(out, poisoned, torch.nan), emptied(lse, poisoned, torch.nan)
        ctx.save_for_backward(q, k, v, out, lse, *set_of, *([] if poisoned is None else [poisoned]))
        ctx.runs, ctx.scale = runs, scale
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_second_derivative()
        q, k, v, out, lse, *rest = ctx.saved_tensors
        set_of, poisoned = rest[:3], rest[3] if len(rest) > 3 else None
        if poisoned is None:
            grads, finite = _grads(ctx, set_of, grad_out, q, k, v, out, lse)
            if finite:
                return (*grads, None, None)
        bad = poisoned_rows_of(ctx.runs, nonfinite_rows(grad_out), None, q)
        poisoned = bad if poisoned is None else poisoned if bad is None else poisoned | bad
        bad_keys = nonfinite_rows(k, v)  # nobody attends to them, or the kernel would have found them before
        k, v = emptied(k, bad_keys), emptied(v, bad_keys)
        grad_out, out, lse = emptied(grad_out, poisoned), emptied(out, poisoned), emptied(lse, poisoned, -torch.inf)
        grads = _grads(ctx, set_of, grad_out, q, k, v, out, lse)[0]
        if poisoned is not None:
            keys = _keys_attended_by(ctx.runs, poisoned, k)
            grads = [emptied(grad, rows, torch.nan) for grad, rows in zip(grads, (poisoned, keys, keys), strict=True)]
        return (*grads, None, None)


def _grads(ctx: Any, set_of: list[Tensor], *tensors: Tensor) -> tuple[list[Tensor], bool]:
    """Gradients of q, k and v, and whether all that went into them was finite; rows whose lse is -inf have none.

    Args:
        set_of: the runs as the kernel reads them; torch hands out what was saved once in a checkpoint.
        tensors: the gradient of the output, then q, k, v, the output and its lse.
    """
    result: Any = torch.ops.attnmask.backward(*tensors, *set_of, ctx.runs.shape[0], ctx.scale)
    *grads, finite = result
    return grads, finite


def _keys_attended_by(runs: Runs, rows: Tensor, k: Tensor) -> Tensor:
    """Keys (B, Hkv, K) that one of the given rows (B, H, Q) attends to, in any head of the key's."""
    axes = runs.shape[0] > 1, runs.shape[1] > 1
    keys = keys_attended_by(flat_runs(runs), folded(rows, *axes))
    by_head = unfolded(keys, k[:, :1].expand(-1, rows.shape[1], -1, -1), *axes)
    return split_axis(by_head, 1, (k.shape[1], -1)).any(2)
