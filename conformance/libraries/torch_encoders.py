"""torch.nn.TransformerEncoder: in training, on its fast path, and of nested tensors."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

import attnmask as am
from attnmask.execute.reference_attention import attention_reference
from conformance.libraries.base import SHAPES, Model

BATCH, HEADS, WIDTH, LAYERS = 2, 2, 8, 2


@cache
def encoder() -> nn.TransformerEncoder:
    """Random weights, no dropout; in training."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(HEADS * WIDTH, HEADS, 8, dropout=0.0, batch_first=True)
    made = nn.TransformerEncoder(layer, LAYERS)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def outputs(form: str, plan: am.Plan) -> tuple[Any, Any, Any]:
    """What the encoder gives, and what it would by definition in float64 and in float32."""
    x = torch.randn(BATCH, plan.Q, HEADS * WIDTH, generator=torch.Generator().manual_seed(0))
    # In training the encoder calls its parts, which can be replaced.
    by_definition = [_by_definition(plan, dtype)(x.to(dtype)) for dtype in (torch.float64, torch.float32)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)  # that nested tensors are a prototype
        out = _nested(plan, x) if form == "nested" else _padded(plan, x, is_fast=form == "fast")
    return out.numpy(), *(each.detach().numpy() for each in by_definition)


def _padded(plan: am.Plan, x: Tensor, is_fast: bool) -> Tensor:
    masks = plan.to("torch_encoder", num_heads=HEADS, batch=BATCH)
    return encoder().train(not is_fast)(x, **masks)


def _nested(plan: am.Plan, x: Tensor) -> Tensor:
    given = plan.to("torch_encoder", form="nested", batch=BATCH)
    items = [item[:length] for item, length in zip(x, given["lengths"].tolist(), strict=True)]
    out = encoder().eval()(torch.nested.nested_tensor(items))
    return out.to_padded_tensor(0.0, x.shape)


def _by_definition(plan: am.Plan, dtype: torch.dtype) -> nn.TransformerEncoder:
    made = deepcopy(encoder()).to(dtype).train()
    for layer in made.layers:
        layer._sa_block = partial(_attention, layer.self_attn, plan)
    return made


def _attention(module: nn.MultiheadAttention, plan: am.Plan, x: Tensor, *_: Any, **masks: Any) -> Tensor:
    parts = linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=-1)
    heads = (part.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2) for part in parts)
    out, _ = attention_reference(*heads, plan, None, WIDTH**-0.5, x.dtype)
    return module.out_proj(out.transpose(1, 2).flatten(2))


# Queries of padding are 0, whatever keys they see.
OTHERWISE = {"fast": ("padding right, square",)}
NAMES = {"training": "in training", "fast": "its fast path", "nested": "of a nested tensor"}
MODELS = [
    Model(
        f"torch nn.TransformerEncoder, {name}",
        ("torch",),
        partial(outputs, form),
        {"square": SHAPES["square"]},
        otherwise=OTHERWISE.get(form, ()),
    )
    for form, name in NAMES.items()
]
