"""Peers of attention that a library would not name: a loop over documents, and transformers' own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.llama.modeling_llama import eager_attention_forward

from attnmask.timing.problem import Problem
from attnmask.timing.timed_peers import PEERS, Peer, Run
from benchmarks.attention_masks import Calls, Case

MOST_OF_TRANSFORMERS = 4096**2


def peers_of(case: Case) -> dict[str, Peer]:
    """Every peer of a case."""
    return {**PEERS, "loop": loop(case), "hf eager": transformers_eager, "hf sdpa": transformers_sdpa}


def loop(case: Case) -> Peer:
    """torch's attention on one document or item after the other; rows of no document stay 0."""
    return lambda problem: _loop(problem, case.calls) if case.calls else None


def _loop(problem: Problem, calls: Calls) -> Run:

    def run() -> Tensor:
        out = torch.zeros_like(problem.q)
        for item, rows, causal in calls:
            q, k, v = (x[item : item + 1, :, rows] for x in (problem.q, problem.k, problem.v))
            out[item : item + 1, :, rows] = scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=problem.grouped
            )
        return out

    return run


def transformers_eager(problem: Problem) -> Run | None:
    """The attention that transformers writes out."""
    return _transformers(problem, eager_attention_forward)


def transformers_sdpa(problem: Problem) -> Run | None:
    """transformers' own way to call torch's attention."""
    return _transformers(problem, sdpa_attention_forward)


def _transformers(problem: Problem, function: Callable[..., Any]) -> Run | None:
    plan = problem.plan
    if plan.Q * plan.K > MOST_OF_TRANSFORMERS:
        return None
    module = torch.nn.Module()
    module.num_key_value_groups = problem.q.shape[1] // problem.k.shape[1]
    module.is_causal = False
    seen = torch.from_numpy(plan.runs.to_dense())
    mask = torch.zeros(seen.shape, dtype=problem.q.dtype).masked_fill(~seen, torch.finfo(problem.q.dtype).min)
    scaling = problem.q.shape[-1] ** -0.5
    return lambda: function(module, problem.q, problem.k, problem.v, mask, scaling=scaling)[0].transpose(1, 2)
