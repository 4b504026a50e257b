"""torch FlexAttention, eager and compiled."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import flex_attention

import attnmask as am
from conformance.libraries.base import Array, Library


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=False)


def eager(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is not compiled
        return _attend(flex_attention, plan, q, k, v)


def compiled(plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inductor about its own past
        return _attend(_compiled(), plan, q, k, v)


def _attend(attention: Any, plan: am.Plan, q: Array, k: Array, v: Array) -> Array:
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    return attention(*tensors, block_mask=plan.to("flex")).numpy()


LIBRARIES = [
    Library("torch FlexAttention, eager", ("torch",), eager),
    Library(
        "torch FlexAttention, compiled",
        ("torch",),
        compiled,
        shapes={"square": (256, 256, 0)},
        kinds=(
            "causal",
            "window",
            "causal documents",
            "padding with holes",
            "chunked",
            "sinks",
            "per head",
            "any pairs",
        ),
    ),
]
