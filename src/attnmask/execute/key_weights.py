"""Soft weights: key j's un-normalised attention is multiplied by w_j, that is, log w_j is added to its scores.

The logarithm rides along as two extra columns of the key, against columns of ones in the query, so that any kernel
runs it and its gradient comes back with the key's. Two columns, since a bfloat16 logarithm is too coarse: the
second holds what rounding the first lost. A weight of 0 takes the key out of the set.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnmask.execute.nonfinite_guard import emptied, nonfinite_rows
from attnmask.execute.surroundings import refuse_derivatives_of_gradients
from attnmask.execute.tiles.tiled_attention import run_backward

EXTRA = 2


def overflow(weights: Tensor | None, q: Tensor, scale: float) -> bool:
    """Whether a column of keys would hold more than the dtype of q can."""
    if weights is None or not weights.numel() or scale <= 0:
        return False
    return not bool(_logarithm(weights.detach(), scale).abs().max() <= torch.finfo(q.dtype).max)


def _logarithm(weights: Tensor, scale: float) -> Tensor:
    return torch.where(weights > 0, weights, 1).log() / scale


def with_weight_columns(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, scale: float) -> tuple[Tensor, ...]:
    """q, k and v with columns that add log(weights) to the scores; weights (B, Hkv, K), 0 is read as 1."""
    logarithm = _logarithm(weights, scale)
    coarse = logarithm.to(k.dtype)
    columns = torch.stack([coarse, (logarithm - coarse.to(logarithm.dtype)).to(k.dtype)], dim=-1)
    ones = q.new_ones(*q.shape[:-1], EXTRA)
    return torch.cat([q, ones], -1), torch.cat([k, columns], -1), torch.nn.functional.pad(v, (0, EXTRA))


class ZeroWeightGradient(torch.autograd.Function):
    """Passes the output on, and gives weights of 0 the gradient that they have although their key is masked.

    d out_i / d w_j = exp(s_ij - lse_i) (v_j - out_i), whatever w_j is: a learnt weight can come back from 0.
    ``apply(out, weights, q, k, v, lse, schedule, scale)``: ``schedule`` is the set of the keys of weight 0, q, k, v
    have their weight columns, and weights are (B, Hkv, K) laid out as k is.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, weights: Tensor, *rest: Any) -> Tensor:
        *tensors, ctx.schedule, ctx.scale = rest
        ctx.save_for_backward(out, weights, *tensors)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_derivatives_of_gradients(grad_out)
        out, weights, q, k, v, lse = ctx.saved_tensors
        bad_rows, bad_keys = nonfinite_rows(q, out, grad_out), nonfinite_rows(k, v)
        clean_grad, q, out = (emptied(x, bad_rows) for x in (grad_out, q, out))
        k, v, lse = emptied(k, bad_keys), emptied(v, bad_keys), emptied(lse, bad_rows, torch.inf)
        grad_k = run_backward(clean_grad, q, k, v, out, lse, ctx.schedule, ctx.scale)[1]
        per_key = grad_k[..., -EXTRA].to(weights.dtype) / ctx.scale
        return (grad_out, torch.where(weights == 0, per_key, 0), *[None] * 6)
