"""The numeric meaning of attention under a mask: float64, computed at every pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan


def attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: Plan,
    weights: Tensor | None,
    scale: float,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Attention by its definition, differentiable.

    Args:
        q: (B, H, Q, D). k, v: (B, Hkv, K, D), Hkv divides H. plan: the set, on Q and K.
        weights: (B or 1, 1, 1, K) or (B or 1, H or 1, Q, K), 0 or more. scale: factor of the scores.
        dtype: what to compute in.

    Returns:
        Output (B, H, Q, Dv) and log-sum-exp (B, H, Q), in ``dtype``. A row without a key is 0 and -inf. A row that
        attends to a non-finite key or value is NaN; pairs outside the set have no influence at all.
    """
    heads = q.shape[1]
    q, k, v = q.to(dtype), _per_head(k.to(dtype), heads), _per_head(v.to(dtype), heads)
    in_set = torch.from_numpy(plan.runs.to_dense()).to(q.device)
    w = q.new_ones(()) if weights is None else weights.to(dtype)
    attends = in_set & (w > 0)
    bad_key = ~(torch.isfinite(k).all(-1) & torch.isfinite(v).all(-1))[:, :, None]
    poisoned = (attends & bad_key).any(-1, keepdim=True) | (~torch.isfinite(q).all(-1, keepdim=True))
    k, v = (x.masked_fill(bad_key[:, :, 0, :, None], 0) for x in (k, v))
    scores = (q.nan_to_num(0, 0, 0) @ k.transpose(-1, -2)) * scale
    seen = attends.any(-1, keepdim=True).expand(*scores.shape[:-1], 1)
    most = scores.detach().masked_fill(~attends, -torch.inf).amax(-1, keepdim=True) if k.shape[2] else 0
    # Weights multiply, and are not added as logarithms, so that a weight of 0 has its gradient too; the score of such
    # a key may lie so far above the others that its exponential is no number.
    above = (scores - most).clamp(max=math.log(torch.finfo(dtype).max) / 2)
    share = w * above.masked_fill(~(in_set & seen), -torch.inf).exp() if k.shape[2] else scores
    total = share.sum(-1, keepdim=True).masked_fill(~seen, 1)
    out = (share @ v / total).masked_fill(~seen, 0).masked_fill(poisoned & seen, torch.nan)
    lse = (total.log() + most).masked_fill(~seen, -torch.inf).masked_fill(poisoned & seen, torch.nan)
    return out, lse.squeeze(-1)


def _per_head(x: Tensor, heads: int) -> Tensor:
    return x.repeat_interleave(heads // x.shape[1], dim=1)
