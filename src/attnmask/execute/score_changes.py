"""Attention whose scores are more than a product of queries and keys.

The native kernel caps scores or adds biases, and drops weights; a sink is a factor of what it returns. What is left,
and machines without the kernel, take blocks of rows: plain operations over the keys between the first and the last
that a block sees. In training a block is computed again on the way back, so that only one block is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError
from attnmask.execute.backend_choice import OBSTACLES, Call
from attnmask.execute.folding import of_one_width, under_autocast
from attnmask.execute.native.native_attention import Settings, native_attention
from attnmask.execute.nonfinite_guard import guarded
from attnmask.execute.surroundings import transform_around, use_one_thread_if_forked
from attnmask.execute.tensor_checks import check_tensor

# Of a block, over all items and heads: some megabytes.
MOST_SCORES = 1 << 22
MOST_ROWS = 256


@dataclass(frozen=True)
class Changes:
    """What happens to the scores, in this order.

    Attributes:
        softcap: a score s becomes softcap * tanh(s / softcap). bias: is added, (B or 1, H or 1, Q or 1, K).
        sinks: one more logit a row that no value belongs to, (B or 1, H, Q or 1, 1).
        dropout: share of the weights that are dropped.
    """

    softcap: float | None = None
    bias: Tensor | None = None
    sinks: Tensor | None = None
    dropout: float = 0.0

    @property
    def any(self) -> bool:
        """Whether anything changes."""
        return self.dropout > 0 or any(x is not None for x in (self.softcap, self.bias, self.sinks))


def attention_with_changes(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, weights: Tensor | None, scale: float, changes: Changes
) -> Tensor:
    """Output (B, H, Q, Dv) of attention over the pairs of a plan, 0 in a row without a key.

    Args:
        q, k, v: (B, H or Hkv, L, D). plan: the set. weights: (B or 1, H or 1, Q or 1, K), 0 or more.
        scale: factor of the scores. changes: what else happens to them.
    """
    use_one_thread_if_forked()
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(x, name)
    if (transform := transform_around(q, k, v)) is not None:
        raise ArgumentError(f"scores are changed and {transform}", where="attention", fix="use torch.autograd")
    q, k, v = under_autocast(q, k, v)
    beyond_kernel = weights is not None or _is_too_much(changes)
    if beyond_kernel or OBSTACLES["native"](Call(q, plan, scale=scale)):
        return attention_by_scores(q, k, v, plan, weights, scale, changes)
    q_wide, k, v_wide = of_one_width(q, k, v, multiple=2)
    seed = int(torch.randint(2**62, (), device="cpu")) if changes.dropout else 0
    settings = Settings(scale, changes.softcap or 0.0, changes.dropout, seed)
    bias = None if changes.bias is None else _by_pair(changes.bias, q, k)
    out, lse = native_attention(q_wide, k, v_wide, plan.runs, settings, bias)
    if changes.sinks is not None:
        # What the sink leaves to the keys of its share: e**lse / (e**lse + e**sink).
        out = out * torch.sigmoid(lse - changes.sinks.squeeze(-1)).unsqueeze(-1).to(out.dtype)
    return out[..., : v.shape[-1]]


def _is_too_much(changes: Changes) -> bool:
    """The kernel would cap the gradients of biases too, and divides by the share of weights that it keeps."""
    return (changes.bias is not None and changes.softcap is not None) or changes.dropout >= 1


def _by_pair(bias: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """A bias as (B or 1, H, Q, K) in float32, with keys side by side."""
    whole = bias.float().resolve_neg().expand(-1, q.shape[1], q.shape[2], k.shape[2])
    return whole if whole.stride(3) == 1 else whole.contiguous()


def attention_by_scores(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, weights: Tensor | None, scale: float, changes: Changes
) -> Tensor:
    """The same by blocks of rows, of anything."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    run = partial(_by_blocks, plan=plan, weights=weights, scale=scale, changes=changes)
    return guarded(run, q, k, v, plan.runs)[0]


def _by_blocks(
    q: Tensor, k: Tensor, v: Tensor, *, plan: Plan, weights: Tensor | None, scale: float, changes: Changes
) -> tuple[Tensor, Tensor]:
    height = max(1, min(MOST_ROWS, MOST_SCORES // max(1, q.shape[0] * q.shape[1] * plan.K)))
    parts: list[tuple[Tensor, Tensor]] = []
    for row in range(0, plan.Q, height):
        rows = slice(row, min(row + height, plan.Q))
        runs = plan[rows].runs
        keys = slice(int(runs.starts.min(initial=plan.K)), int(runs.stops.max(initial=0)))
        keys = keys if keys.start < keys.stop else slice(0, 0)
        attends = torch.from_numpy(runs.to_dense()[..., keys]).to(q.device)
        own, w, sinks = (_part(x, rows, keys) for x in (changes.bias, weights, changes.sinks))
        block = partial(_block, attends=attends, scale=scale, changes=changes)
        inputs = q[:, :, rows], k[:, :, keys], v[:, :, keys], own, w, sinks
        parts.append(_again_on_the_way_back(block, *inputs))
    outs, sums = zip(*parts, strict=True)
    return torch.cat(outs, 2), torch.cat(sums, 2)


def _part(x: Tensor | None, rows: slice, keys: slice) -> Tensor | None:
    """What a tensor (., ., Q or 1, K or 1) says of some rows and keys."""
    if x is None:
        return None
    x = x[..., keys] if x.shape[-1] > 1 else x
    return x[:, :, rows] if x.shape[2] > 1 else x


def _again_on_the_way_back(run: Any, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    if not torch.is_grad_enabled():
        return run(*inputs)
    return cast(tuple[Tensor, Tensor], checkpoint(run, *inputs, use_reentrant=False))


def _block(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    weights: Tensor | None,
    sinks: Tensor | None,
    *,
    attends: Tensor,
    scale: float,
    changes: Changes,
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of some rows and all the keys between the first and the last that they see."""
    scores = (q @ k.transpose(-1, -2)).to(torch.promote_types(q.dtype, torch.float32)) * scale
    if changes.softcap is not None:
        scores = torch.tanh(scores / changes.softcap) * changes.softcap
    if bias is not None:
        scores = scores + bias
    if sinks is not None:
        last = sinks.to(scores.dtype).expand(*scores.shape[:3], 1)
        scores, attends = torch.cat([scores, last], -1), torch.nn.functional.pad(attends, (0, 1), value=True)
    seen = attends.any(-1, keepdim=True)
    scores = scores.masked_fill(~attends, -torch.inf)
    top = scores.detach().amax(-1, keepdim=True).masked_fill(~seen, 0) if scores.shape[-1] else 0
    share = (scores - top).exp()
    if weights is not None:
        share = share * (weights if sinks is None else torch.nn.functional.pad(weights, (0, 1), value=1.0))
    total = share.sum(-1, keepdim=True)
    share = share[..., : k.shape[2]] / total.masked_fill(total == 0, 1)
    share = torch.nn.functional.dropout(share, changes.dropout)
    return share.to(v.dtype) @ v, (total.log() + top).squeeze(-1).detach()
