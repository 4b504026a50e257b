"""A problem to time: a plan, and tensors for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnmask.compiler.plan import Plan


@dataclass(frozen=True)
class Problem:
    """Attention under a plan.

    Attributes:
        plan: the set. q, k, v, grad: queries (B, H, Q, D), keys and values (B, Hkv, K, D), gradient of the output.
        mask_mod: the rule as a person would write it for FlexAttention; the plan's own if left out.
    """

    plan: Plan
    q: Tensor
    k: Tensor
    v: Tensor
    grad: Tensor
    mask_mod: Callable[..., Any] | None = None

    @property
    def grouped(self) -> bool:
        """Whether several query heads share a head of keys."""
        return self.q.shape[1] != self.k.shape[1]


def problem_from_plan(
    plan: Plan,
    heads: int = 8,
    dim: int = 64,
    kv_heads: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    mask_mod: Callable[..., Any] | None = None,
) -> Problem:
    """A problem with standard normal tensors, always the same.

    Args:
        plan: the set; its H is 1 or ``heads``. heads, kv_heads, dim: sizes. dtype, device: of the tensors.
        mask_mod: the rule as a person would write it for FlexAttention.
    """
    generator = torch.Generator().manual_seed(0)
    few = kv_heads or heads
    sizes = ((heads, plan.Q), (few, plan.K), (few, plan.K), (heads, plan.Q))
    made = [torch.randn(plan.B, *size, dim, generator=generator).to(device, dtype) for size in sizes]
    q, k, v = (x.requires_grad_() for x in made[:3])
    return Problem(plan, q, k, v, made[3], mask_mod)
