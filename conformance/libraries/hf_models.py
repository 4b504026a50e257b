"""transformers: the attention that its models call, in a tiny Llama."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

import attnmask as am
from conformance.libraries.base import Array, Library

PACKAGES = ("transformers", "torch")


@cache
def _module(implementation: str, heads: int, width: int) -> torch.nn.Module:
    config = LlamaConfig(
        hidden_size=heads * width,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=8,
        num_hidden_layers=1,
        vocab_size=8,
        attn_implementation=implementation,
    )
    return LlamaModel(config).eval().layers[0].self_attn


def _attend(implementation: str, mask: Any, q: Array, k: Array, v: Array) -> Array:
    module = _module(implementation, q.shape[1], q.shape[3])
    function = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
    tensors: list[Tensor] = [torch.from_numpy(x) for x in (q, k, v)]
    # What transformers compiles is flex_attention, whose compiled form has a row of its own.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that flex_attention is not compiled, and of inductor about its own past
        out, _ = function(module, *tensors, mask, dropout=0.0, scaling=module.scaling)
    return out.transpose(1, 2).contiguous().numpy()


def eager(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _attend("eager", plan.to("hf_4d"), q, k, v)


def sdpa(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _attend("sdpa", plan.to("dense_torch"), q, k, v)


def flex(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    return _attend("flex_attention", plan.to("flex"), q, k, v)


LIBRARIES = [
    Library("transformers, eager", PACKAGES, eager),
    Library("transformers, sdpa", PACKAGES, sdpa),
    Library("transformers, flex_attention", PACKAGES, flex),
]
