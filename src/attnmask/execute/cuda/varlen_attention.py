"""Attention by torch's varlen kernel, which runs packed documents on a GPU."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.execute.folding import of_one_width
from attnmask.formats.kernels import flash_varlen

DTYPES = (torch.float16, torch.bfloat16)
MOST_WIDTH = 256


@lru_cache(maxsize=32)
def form_from_plan(plan: Plan, batch: int) -> flash_varlen.Varlen | None:
    """The arguments of the kernel, on the CPU; None unless queries and keys are the same packed documents."""
    if plan.Q != plan.K or flash_varlen.refusals(plan):
        return None
    form = flash_varlen.lower(plan, library="torch", batch=batch)
    same = torch.equal(form.arguments["cu_seq_q"], form.arguments["cu_seq_k"])
    return form if same and len(form.indices_q) else None


def attention_by_varlen(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float) -> tuple[Tensor, Tensor]:
    """Output (B, H, S, D) and log-sum-exp (B, H, S) of finite tensors; tokens of no document have 0 and -inf.

    Source: torch.nn.attention.varlen, whose log-sum-exp is (H, tokens), other than it is documented.
    """
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    form = cast(flash_varlen.Varlen, form_from_plan(plan, q.shape[0]))
    queries, keys = form.indices_q.to(q.device), form.indices_k.to(q.device)
    wide = of_one_width(q, k, v, multiple=8)
    packed = tuple(_packed(x, tokens) for x, tokens in zip(wide, (queries, keys, keys), strict=True))
    bounds = {name: form.arguments[name].to(q.device) for name in ("cu_seq_q", "cu_seq_k")}
    out, lse = cast(
        tuple[Tensor, Tensor],
        varlen_attn(
            *cast(tuple[Tensor, Tensor, Tensor], packed),
            **(form.arguments | bounds),
            return_aux=AuxRequest(lse=True),
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        ),
    )
    out, lse = _unpacked(out, q, queries, 0.0), _unpacked(lse.T.detach(), q, queries, -torch.inf)
    return out[..., : v.shape[-1]], lse


def _packed(x: Tensor, tokens: Tensor) -> Tensor:
    """(B, H, S, D) -> (tokens, H, D)."""
    return x.transpose(1, 2).flatten(0, 1)[tokens]


def _unpacked(x: Tensor, q: Tensor, tokens: Tensor, rest: float) -> Tensor:
    """(tokens, H, ...) -> (B, H, S, ...), with ``rest`` at all others."""
    b, _, s, _ = q.shape
    every = x.new_full((b * s, *x.shape[1:]), rest).index_copy(0, tokens, x)
    return every.view(b, s, *x.shape[1:]).transpose(1, 2)
