"""Attention by torch's FlexAttention, with a BlockMask made from the plan, which runs any set on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.execute.folding import with_whole_rows
from attnmask.execute.nonfinite_guard import emptied, rows_with_keys

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LEAST_WIDTH = 16


def attention_by_flex(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float) -> tuple[Tensor, Tensor]:
    """Output (B, H, Q, Dv) and log-sum-exp (B, H, Q) of finite tensors; a CPU has no backward of it."""
    from torch.nn.attention.flex_attention import AuxRequest

    out, about = compiled_flex()(
        *(with_whole_rows(x) for x in (q, k, v)),
        block_mask=_block_mask(plan, str(q.device)),
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=True),
    )
    empty = _on_axes(~rows_with_keys(plan.runs, q.device), plan, q)
    return emptied(out, empty), emptied(about.lse.detach(), empty, -torch.inf)


@lru_cache(maxsize=1)
def compiled_flex() -> Callable[..., Any]:
    """torch's FlexAttention, compiled; for new shapes it is compiled again, for new masks of one structure not."""
    from torch.nn.attention.flex_attention import flex_attention

    return cast(Callable[..., Any], torch.compile(flex_attention))


@lru_cache(maxsize=32)
def _block_mask(plan: Plan, device: str) -> Any:
    return plan.to("flex", device=device)


def _on_axes(rows: Tensor, plan: Plan, q: Tensor) -> Tensor | None:
    """Rows of the plan, flat, as (B, H, Q); None if there is none."""
    return rows.view(plan.runs.shape).expand(q.shape[:3]) if bool(rows.any()) else None
