"""The native kernel as a differentiable function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from attnmask.compiler.runs import Runs
from attnmask.execute.folding import folded, unfolded, with_whole_rows
from attnmask.execute.nonfinite_guard import emptied, keys_attended_by, nonfinite_rows, poisoned_rows_in_set
from attnmask.execute.surroundings import refuse_derivatives_of_gradients
from attnmask.execute.tiles.rectangles import split_axis
from attnmask.execute.tiles.schedule import flat_runs

DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Settings:
    """Numbers of a call: the factor of the scores, their cap (0 for none), the share of the weights that is dropped."""

    scale: float
    softcap: float = 0.0
    dropout: float = 0.0
    seed: int = 0


def native_attention(
    q: Tensor, k: Tensor, v: Tensor, runs: Runs, settings: Settings, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of attention by the kernel, both differentiable.

    Args:
        q: (B, H, Q, D). k, v: (B, Hkv, K, D), with an even D; float32 or bfloat16. runs: the set. settings: numbers.
        bias: (B or 1, H, Q, K), float32, with keys side by side; its gradient alone has as many elements.

    Returns:
        (B, H, Q, D) in q's dtype, and (B, H, Q), float32.
    """
    result: Any = _NativeAttention.apply(q, k, v, bias, runs, settings)  # pyright: ignore[reportUnknownVariableType]
    return cast(tuple[Tensor, Tensor], result)


class _NativeAttention(torch.autograd.Function):
    """The kernel tells whether a non-finite number may have come from where it must not; only then is it looked for."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, runs: Runs, settings: Settings
    ) -> tuple[Tensor, Tensor]:
        q, k, v = (with_whole_rows(x) for x in (q, k, v))
        rest = (
            _of_items(bias, q),
            *(torch.tensor(array, device="cpu") for array in (runs.indptr, runs.starts, runs.stops)),
        )
        numbers = runs.shape[0], *astuple(settings)
        out, lse, finite = torch.ops.attnmask.forward(q, k, v, *rest, *numbers)
        poisoned = None
        if not finite:
            bad_rows, bad_keys = nonfinite_rows(q), nonfinite_rows(k, v)
            q, k, v = emptied(q, bad_rows), emptied(k, bad_keys), emptied(v, bad_keys)
            out, lse, _ = torch.ops.attnmask.forward(q, k, v, *rest, *numbers)
            poisoned = poisoned_rows_in_set(runs, bad_rows, bad_keys, q)
            out, lse = emptied(out, poisoned, torch.nan), emptied(lse, poisoned, torch.nan)
        ctx.save_for_backward(q, k, v, bias, out, lse, *rest[1:], poisoned)
        ctx.runs, ctx.numbers = runs, numbers
        return out, lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_lse: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_derivatives_of_gradients(grad_out)
        grad_out, grad_lse = with_whole_rows(grad_out), grad_lse.resolve_neg()
        # Read once: under a checkpoint, torch hands out what was saved only once.
        q, k, v, bias, out, lse, *set_of, poisoned = ctx.saved_tensors
        if poisoned is None:
            grads, of_bias, finite = _grads(ctx, (grad_out, grad_lse), (q, k, v, bias), (out, lse), set_of)
            if finite:
                return (*grads, of_bias, None, None)
        bad = poisoned_rows_in_set(ctx.runs, nonfinite_rows(grad_out, grad_lse.unsqueeze(-1)), None, q)
        poisoned = bad if poisoned is None else poisoned if bad is None else poisoned | bad
        bad_keys = nonfinite_rows(k, v)  # nobody attends to them, or the kernel would have found them before
        k, v = emptied(k, bad_keys), emptied(v, bad_keys)
        grad_out, grad_lse, out = (emptied(x, poisoned) for x in (grad_out, grad_lse, out))
        lse = emptied(lse, poisoned, -torch.inf)
        grads, of_bias, _ = _grads(ctx, (grad_out, grad_lse), (q, k, v, bias), (out, lse), set_of)
        if poisoned is not None:
            keys = _keys_attended_by(ctx.runs, poisoned, k)
            grads = [emptied(grad, rows, torch.nan) for grad, rows in zip(grads, (poisoned, keys, keys), strict=True)]
        return (*grads, of_bias, None, None)


def _grads(
    ctx: Any, given: Sequence[Tensor], inputs: Sequence[Any], of_rows: Sequence[Tensor], set_of: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor | None, bool]:
    """Gradients of q, k and v, of the bias, and whether all that went into them was finite.

    Args:
        given: gradients of the output and of its lse. inputs: q, k, v and the bias, or None.
        of_rows: the output and its lse; rows whose lse is -inf have no gradients. set_of: the runs.
    """
    q, k, v, bias = inputs
    of_bias = (
        torch.zeros(bias.shape, dtype=torch.float32, device="cpu")
        if bias is not None and ctx.needs_input_grad[3]
        else None
    )
    written = q.new_empty(0, dtype=torch.float32) if of_bias is None else _of_items(of_bias, q)
    tensors = *given, q, k, v, _of_items(bias, q), *of_rows, written
    result: Any = torch.ops.attnmask.backward(*tensors, *set_of, *ctx.numbers)
    *grads, finite = result
    return grads, of_bias, finite


def _of_items(bias: Tensor | None, q: Tensor) -> Tensor | None:
    """A bias by batch item; items that share theirs lie on top of each other."""
    return None if bias is None else bias.expand(q.shape[0], -1, -1, -1)


def _keys_attended_by(runs: Runs, rows: Tensor, k: Tensor) -> Tensor:
    """Keys (B, Hkv, K) that one of the given rows (B, H, Q) attends to, in any head of the key's."""
    axes = runs.shape[0] > 1, runs.shape[1] > 1
    keys = keys_attended_by(flat_runs(runs), folded(rows, *axes))
    by_head = unfolded(keys, k[:, :1].expand(-1, rows.shape[1], -1, -1), *axes)
    return split_axis(by_head, 1, (k.shape[1], -1)).any(2)
