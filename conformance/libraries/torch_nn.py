"""torch: scaled_dot_product_attention and MultiheadAttention."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

import attnmask as am
from conformance.libraries.base import Array, Library, by_head, flat, pairs_of


def sdpa(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return scaled_dot_product_attention(*tensors, **plan.to("sdpa")).numpy()


def sdpa_of_floats(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return scaled_dot_product_attention(*tensors, attn_mask=plan.to("additive")).numpy()


def multihead(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _multihead(plan.to("mha", num_heads=q.shape[1], batch=q.shape[0]), False, q, k, v)


def multihead_of_any(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _multihead(_any(plan, q), False, q, k, v)


def with_weights(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _multihead(plan.to("mha", num_heads=q.shape[1], batch=q.shape[0]), True, q, k, v)


def with_weights_of_any(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _multihead(_any(plan, q), True, q, k, v)


def _any(plan: am.Plan, q: Array) -> dict[str, Any]:
    return {"attn_mask": ~torch.from_numpy(pairs_of(plan, *q.shape[:2])).flatten(0, 1)}


def _multihead(masks: dict[str, Any], need_weights: bool, q: Array, k: Array, v: Array) -> Array:
    heads, width = q.shape[1], q.shape[1] * q.shape[3]
    module = torch.nn.MultiheadAttention(width, heads, bias=False, batch_first=True)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(width))
        out = module(*(torch.from_numpy(flat(x)) for x in (q, k, v)), need_weights=need_weights, **masks)[0]
    return np.ascontiguousarray(by_head(out.numpy(), heads))


LIBRARIES = [
    Library("torch scaled_dot_product_attention, bools", ("torch",), sdpa),
    Library("torch scaled_dot_product_attention, floats", ("torch",), sdpa_of_floats),
    Library("torch nn.MultiheadAttention", ("torch",), multihead, multihead_of_any),
    Library("torch nn.MultiheadAttention, with weights", ("torch",), with_weights, with_weights_of_any),
]
