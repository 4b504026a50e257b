"""Attention by a schedule of calls to torch's own kernel: no Q x K array, empty parts skipped, backward included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attnmask.execute.folding import with_whole_rows
from attnmask.execute.nonfinite_guard import emptied, keys_attended_by, nonfinite_rows, poisoned_rows
from attnmask.execute.surroundings import refuse_derivatives_of_gradients
from attnmask.execute.tiles.rectangles import Slabs, split_axis
from attnmask.execute.tiles.schedule import Group, Kind, Schedule

MOST_ELEMENTS = 1 << 22
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class TiledAttention(torch.autograd.Function):
    """``apply(q, k, v, schedule, scale)`` -> output and log-sum-exp, on a schedule's laid-out rows and keys.

    q is (B, H, rows, D), k and v are (B, Hkv, keys, D) of the schedule's set. The log-sum-exp, in float32 or
    float64, has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, schedule: Schedule, scale: float) -> tuple[Tensor, Tensor]:
        bad_rows, bad_keys = nonfinite_rows(q), nonfinite_rows(k, v)
        q, k, v = emptied(q, bad_rows), emptied(k, bad_keys), emptied(v, bad_keys)
        out, lse = _run(q, k, v, schedule, scale)
        poisoned = _poisoned(schedule, bad_rows, bad_keys, q.shape[1])
        out, lse = emptied(out, poisoned, torch.nan), emptied(lse, poisoned, torch.nan)
        ctx.save_for_backward(q, k, v, out, lse, *([] if poisoned is None else [poisoned]))
        ctx.schedule, ctx.scale = schedule, scale
        ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_derivatives_of_gradients(grad_out)
        q, k, v, out, lse, *rest = ctx.saved_tensors
        poisoned = _poisoned(ctx.schedule, nonfinite_rows(grad_out), None, q.shape[1])
        if rest:
            poisoned = rest[0] if poisoned is None else rest[0] | poisoned
        grad_out, out = emptied(grad_out, poisoned), emptied(out, poisoned)
        grads = run_backward(grad_out, q, k, v, out, emptied(lse, poisoned, torch.inf), ctx.schedule, ctx.scale)
        if poisoned is not None:
            keys = keys_attended_by(ctx.schedule.runs, poisoned)
            keys = split_axis(keys, 1, (k.shape[1], -1)).any(2)
            grads = [emptied(grad, rows, torch.nan) for grad, rows in zip(grads, (poisoned, keys, keys), strict=True)]
        return (*grads, None, None)


def run_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, schedule: Schedule, scale: float
) -> list[Tensor]:
    """Gradients of q, k and v, from the output and log-sum-exp over all keys.

    Since both are over all keys, each call's share is exact on its own, and shares add up.
    """
    grad_out, q, k, v, out = (with_whole_rows(x) for x in (grad_out, q, k, v, out))
    # exp(score - lse) of a row without a key must be 0: its lse of -inf would make it NaN.
    lse = lse.masked_fill(lse == -torch.inf, torch.inf)
    grads = [_zeros_like(x) for x in (q, k, v)]
    for group, rows, keys in _calls(schedule, q):
        here = [rows.read(grad_out), rows.read(q), keys.read(k), keys.read(v), rows.read(out), rows.read(lse)]
        parts = _backward(*here, 0.0, group.kind is Kind.CAUSAL, attn_mask=_bias(schedule, group, q), scale=scale)
        for grad, part, slabs in zip(grads, parts, (rows, keys, keys), strict=True):
            slabs.add(grad, part)
    return [grad.to(x.dtype) for grad, x in zip(grads, (q, k, v), strict=True)]


def _run(q: Tensor, k: Tensor, v: Tensor, schedule: Schedule, scale: float) -> tuple[Tensor, Tensor]:
    q, k, v = (with_whole_rows(x) for x in (q, k, v))
    out = _zeros_like(q) if not schedule.disjoint else _rows_outermost(q, q.dtype)
    lse = torch.full(q.shape[:3], -torch.inf, dtype=_accumulator(q.dtype), device=q.device)
    for group, rows, keys in _calls(schedule, q):
        bias = _bias(schedule, group, q)
        part, part_lse = _forward(
            rows.read(q), keys.read(k), keys.read(v), 0.0, group.kind is Kind.CAUSAL, attn_mask=bias, scale=scale
        )
        if bias is not None:
            # The kernel reports 0, not -inf, for a row that has no key in this call.
            part_lse = part_lse.masked_fill((bias == -torch.inf).all(-1), -torch.inf)
        if not schedule.disjoint:
            part, part_lse = _merged(rows.read(out), rows.read(lse), part, part_lse)
        rows.write(out, part)
        rows.write(lse, part_lse)
    return out.to(q.dtype), lse


def _merged(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the keys of both, from attention over the keys of each."""
    total = torch.logaddexp(lse, part_lse)
    base = total.masked_fill(total == -torch.inf, 0)
    return out * (lse - base).exp().unsqueeze(-1) + part * (part_lse - base).exp().unsqueeze(-1), total


def _calls(schedule: Schedule, q: Tensor) -> Iterator[tuple[Group, Slabs, Slabs]]:
    """The groups, each in as many batches as keep the copies of a batch small."""
    for group in schedule.groups:
        tokens = (group.height + group.width) * q.shape[0] * q.shape[1] * q.shape[3]
        most = max(1, MOST_ELEMENTS // tokens)
        for first in range(0, len(group.rows), most):
            some = slice(first, first + most)
            yield (
                group,
                Slabs(group.rows[some], group.height, q.device),
                Slabs(group.keys[some], group.width, q.device),
            )


def _bias(schedule: Schedule, group: Group, q: Tensor) -> Tensor | None:
    if group.kind is not Kind.MASKED:
        return None
    pairs = torch.from_numpy(schedule.pairs_of(group)).to(q.device)
    return torch.zeros(pairs.shape, dtype=q.dtype, device=q.device).masked_fill(~pairs, -torch.inf)[None, None]


def _poisoned(schedule: Schedule, rows: Tensor | None, keys: Tensor | None, heads: int) -> Tensor | None:
    if keys is not None:
        keys = keys.repeat_interleave(heads // keys.shape[1], dim=1)
    return poisoned_rows(schedule.runs, rows, keys)


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _zeros_like(x: Tensor) -> Tensor:
    return _rows_outermost(x, _accumulator(x.dtype))


def _rows_outermost(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros (B, H, L, D) laid out as (B, L, H, D), so that joining the heads afterwards costs no copy."""
    b, h, rows, d = x.shape
    return torch.zeros(b, rows, h, d, dtype=dtype, device=x.device).transpose(1, 2)
