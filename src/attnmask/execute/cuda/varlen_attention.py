"""Attention by torch's kernel for sequences of any lengths: what runs packed documents on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.facts import packed_documents, window_sides
from attnmask.conventions import IntArray
from attnmask.execute.folding import of_one_width
from attnmask.mask.domain import Domain
from attnmask.mask.tables.lookup_tables import int32_from

DTYPES = (torch.float16, torch.bfloat16)
MOST_WIDTH = 256


@dataclass(frozen=True)
class Packing:
    """Documents one after the other.

    ``tokens`` are the indices of their tokens among all B x S, ``bounds`` where each begins and the last ends, and
    ``window`` is what a token sees of its own document to the left and to the right, -1 for all.
    """

    tokens: IntArray
    bounds: IntArray
    window: tuple[int, int]

    def bounds_of(self, copies: int) -> IntArray:
        """The bounds of these documents so many times, int32."""
        begins = self.bounds[:-1] + np.arange(copies)[:, None] * self.bounds[-1]
        return int32_from(np.append(begins.reshape(-1), copies * self.bounds[-1]))


@lru_cache(maxsize=32)
def packing_from_plan(plan: Plan) -> Packing | None:
    """The documents that a plan is made of, with all, causal or a window inside each; None if it is another set."""
    found = packed_documents(plan.runs) if plan.Q == plan.K else None
    if found is None:
        return None
    ids, inside = found
    sides = window_sides(runs_from_mask(inside, Domain(1, 1, plan.Q, plan.K)), 0)
    ids = np.pad(ids, ((0, 0), (0, plan.Q - ids.shape[1])), constant_values=-1)
    tokens = np.flatnonzero(ids >= 0)
    document = (ids + np.arange(len(ids))[:, None] * (ids.max() + 1)).reshape(-1)[tokens]
    begins = np.diff(document, prepend=-1) != 0
    if sides is None or (~begins & (np.diff(tokens, prepend=-1) != 1)).any():
        return None
    left, right = (-1 if side is None else side for side in sides)
    return Packing(tokens, np.append(np.flatnonzero(begins), len(tokens)), (left, right))


def attention_by_varlen(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float) -> tuple[Tensor, Tensor]:
    """Output (B, H, S, D) and log-sum-exp (B, H, S) of finite tensors; tokens of no document have 0 and -inf.

    Source: torch.nn.attention.varlen, whose log-sum-exp is (H, tokens), other than it is documented.
    """
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    packing = cast(Packing, packing_from_plan(plan))
    lines = np.arange(q.shape[0] if plan.B == 1 else 1)[:, None] * plan.Q
    tokens = torch.from_numpy((packing.tokens + lines).reshape(-1)).to(q.device)
    bounds = torch.from_numpy(packing.bounds_of(len(lines))).to(q.device)
    longest = int(np.diff(packing.bounds).max())
    packed = tuple(_packed(x, tokens) for x in of_one_width(q, k, v, multiple=8))
    out, lse = cast(
        tuple[Tensor, Tensor],
        varlen_attn(
            *cast(tuple[Tensor, Tensor, Tensor], packed),
            bounds,
            bounds,
            longest,
            longest,
            return_aux=AuxRequest(lse=True),
            scale=scale,
            window_size=packing.window,
            enable_gqa=q.shape[1] != k.shape[1],
        ),
    )
    return _unpacked(out, q, tokens, 0.0)[..., : v.shape[-1]], _unpacked(lse.T.detach(), q, tokens, -torch.inf)


def _packed(x: Tensor, tokens: Tensor) -> Tensor:
    """(B, H, S, D) -> (tokens, H, D)."""
    return x.transpose(1, 2).flatten(0, 1)[tokens]


def _unpacked(x: Tensor, q: Tensor, tokens: Tensor, rest: float) -> Tensor:
    """(tokens, H, ...) -> (B, H, S, ...), with ``rest`` at all others."""
    b, _, s, _ = q.shape
    every = x.new_full((b * s, *x.shape[1:]), rest).index_copy(0, tokens, x)
    return every.view(b, s, *x.shape[1:]).transpose(1, 2)
