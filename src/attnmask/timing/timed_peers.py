"""The peers: each is given its mask ready-made, in its own form."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attnmask.compiler.structure.facts import causal_offset, is_full
from attnmask.execute.entry import attention
from attnmask.timing.problem import Problem

Run = Callable[[], Tensor]
MOST_DENSE_PAIRS = 16_384**2


def ours(problem: Problem) -> Run:
    """attnmask."""
    return lambda: attention(problem.q, problem.k, problem.v, problem.plan)


def sdpa_dense(problem: Problem) -> Run | None:
    """torch's attention with the set as a bool mask; not where that would take too long and too much memory."""
    if problem.plan.Q * problem.plan.K > MOST_DENSE_PAIRS:
        return None
    mask = torch.from_numpy(problem.plan.runs.to_dense()).to(problem.q.device)
    return lambda: scaled_dot_product_attention(
        problem.q, problem.k, problem.v, attn_mask=mask, enable_gqa=problem.grouped
    )


def sdpa_flag(problem: Problem) -> Run | None:
    """torch's attention without a mask or with its causal flag, where that means the same."""
    plan = problem.plan
    causal = plan.Q == plan.K and causal_offset(plan.runs) == 0
    if not causal and not is_full(plan.runs):
        return None
    return lambda: scaled_dot_product_attention(
        problem.q, problem.k, problem.v, is_causal=causal, enable_gqa=problem.grouped
    )


def flex(problem: Problem) -> Run | None:
    """Compiled FlexAttention, with the rule as a person writes it, and the blocks that the set has."""
    from torch.nn.attention.flex_attention import BlockMask

    torch.compiler.reset()
    blocks = problem.plan.to("flex", device=str(problem.q.device))
    if problem.mask_mod is not None:
        lists = blocks.kv_num_blocks, blocks.kv_indices, blocks.full_kv_num_blocks, blocks.full_kv_indices
        blocks = BlockMask.from_kv_blocks(
            *lists, BLOCK_SIZE=blocks.BLOCK_SIZE, mask_mod=problem.mask_mod, seq_lengths=blocks.seq_lengths
        )
    # It has no backward on a CPU, and compiles for one where an input asks for it.
    backward = problem.q.device.type != "cpu"
    q, k, v = (x if backward else x.detach() for x in (problem.q, problem.k, problem.v))
    return lambda: _compiled()(q, k, v, block_mask=blocks, enable_gqa=problem.grouped)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return cast(Callable[..., Tensor], torch.compile(flex_attention, dynamic=False))


Peer = Callable[[Problem], Run | None]
PEERS: dict[str, Peer] = {"sdpa dense": sdpa_dense, "sdpa flag": sdpa_flag, "flex": flex}
