"""What attention under a plan is: every pair, float64, nothing clever."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

import attnmask as am


def pairs_of(plan: am.Plan, batch: int, heads: int) -> Tensor:
    """Every pair, torch.bool (batch, heads, Q, K)."""
    return torch.from_numpy(np.broadcast_to(plan.runs.to_dense(), (batch, heads, plan.Q, plan.K)).copy())


def weights(q: Tensor, k: Tensor, attends: Tensor) -> Tensor:
    """Attention weights (B, H, Q, K) of q and k (B, H, L, D); a row without a key is 0."""
    scores = (q.double() @ k.double().transpose(-1, -2)) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~attends, -math.inf).softmax(-1).nan_to_num(0)


def uniform_where_empty(expected: Tensor, attends: Tensor) -> Tensor:
    """The same, where a row without a key gives every key the same weight."""
    return torch.where(attends.any(-1, keepdim=True), expected, 1 / attends.shape[-1])
