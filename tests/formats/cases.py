"""The plans that every format meets, and the ways in which each format is asked for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import attnmask as am
from tests.atoms import EXAMPLES, Kind

BATCH, HEADS = 2, 4
# (Q, K, offset). "early" queries stand before the keys, so that some rows see nothing under a causal mask.
SHAPES = {
    "square": (5, 5, 0),
    "wide, at the start": (3, 6, 0),
    "wide, at the end": (3, 6, 3),
    "tall": (6, 3, 0),
    "one row": (1, 5, 4),
    "one pair": (1, 1, 0),
    "early": (5, 5, -2),
    "no key": (3, 0, 0),
    "no query": (0, 3, 0),
}


def bits(*shape: int) -> NDArray[np.bool_]:
    """The same mixed bits for the same shape."""
    return np.random.default_rng(sum(shape)).random(shape) < 0.5


def _upto(most: int, *lengths: int) -> list[int]:
    """Lengths that fit the axis, which may be shorter."""
    return [min(length, most) for length in lengths]


def _tokens(length: int) -> NDArray[np.bool_]:
    return np.stack([np.arange(length) % 3 != 1, np.arange(length) > 0])


KINDS: dict[str, Kind] = {
    "full": lambda q, k: am.full(),
    "empty": lambda q, k: am.empty(),
    "causal": lambda q, k: am.causal(),
    "window": lambda q, k: am.window(left=1, right=1),
    "diagonal": lambda q, k: am.window(left=0, right=0),
    "prefix": lambda q, k: am.prefix([1, 2]),
    "padding right": lambda q, k: am.padding(lengths=_upto(k, 3, 1)),
    "padding left": lambda q, k: am.padding(lengths=_upto(k, 1, 2), side="left"),
    "padding of one length": lambda q, k: am.padding(lengths=_upto(k, 2)),
    "padding of a whole item": lambda q, k: am.padding(lengths=_upto(k, 2, 0)),
    "padding by mask": lambda q, k: am.padding(attention_mask=_tokens(k)),
    "padding of queries": lambda q, k: am.padding(lengths=_upto(q, 2, 1), of="queries"),
    "padding of both": lambda q, k: am.padding(lengths=_upto(min(q, k), 2, 1), of="both"),
    "documents": lambda q, k: am.documents(lengths=[2, 1, 2]),
    "documents by item": lambda q, k: am.documents(ids=[[0, 0, 1, 1, 1, 2], [0, 1, 0, 1, -1, 2]]),
    "dense": lambda q, k: am.dense(bits(q, k)),
    "dense by item": lambda q, k: am.dense(bits(BATCH, 1, q, k)),
    "dense by head": lambda q, k: am.dense(bits(1, HEADS, q, k)),
    "dense by item and head": lambda q, k: am.dense(bits(BATCH, HEADS, q, k)),
    "self and dense by head": lambda q, k: am.window(0, 0) | am.prefix(1) | am.dense(bits(1, HEADS, q, k)),
    "padded decoder": lambda q, k: am.causal() & am.padding(lengths=_upto(k, 3, 1), side="left"),
    "decoder of one length": lambda q, k: am.causal() & am.padding(lengths=_upto(k, 2)),
    "sliding decoder": lambda q, k: am.causal() & am.window(left=1, right=0),
    "packed decoder": lambda q, k: am.causal() & am.documents(lengths=[2, 3]),
    "prefix decoder": lambda q, k: am.causal() | am.prefix([1, 2]),
    "future": lambda q, k: ~am.causal(),
    "chunked": lambda q, k: am.chunked(2),
    "block causal": lambda q, k: am.block_causal(2),
    "block diffusion": lambda q, k: am.block_diffusion(size=1, length=2),
    "dilated": lambda q, k: am.dilated(2),
    "streaming decoder": lambda q, k: am.causal() & (am.window(left=1, right=0) | am.sinks(1)),
    "global tokens": lambda q, k: am.global_tokens([[0], [2, 3]]),
    "images in text": lambda q, k: am.causal() | am.spans([-1, 0, 0, 1, 1]),
    "grid": lambda q, k: am.grid(2, 2, 1),
    "blocks": lambda q, k: am.blocks([[1, 0], [1, 1]], 2),
    "tree": lambda q, k: am.tree([-1, 0, 0, 1, 2]),
    "shared prefix": lambda q, k: am.causal() & am.shared_prefix(1, [2, 1]),
    "cross padding": lambda q, k: am.cross_padding(_upto(q, 2, 1), _upto(k, 1, 3)),
    "per head": lambda q, k: am.per_head([am.causal(), am.full(), am.window(0, 0), am.sinks(1)]),
    "predicate": lambda q, k: am.predicate(lambda b, h, row, key: (row + key) % 3 == 0),
    "causal, later": lambda q, k: am.causal().shift(1),
}
for example in EXAMPLES.values():
    KINDS |= example.kinds


class Variant(NamedTuple):
    """A format, the options to lower with, and the hints to lift with."""

    format: str
    options: Callable[[am.Plan], dict[str, Any]] = lambda plan: {}
    hints: Callable[[am.Plan], dict[str, Any]] = lambda plan: {}


def always(**options: Any) -> Callable[[am.Plan], dict[str, Any]]:
    """The same options for every plan."""
    return lambda plan: options


def _heads(plan: am.Plan) -> dict[str, Any]:
    return {"num_heads": HEADS if plan.H == 1 else plan.H}


def _q_and_k(plan: am.Plan) -> dict[str, Any]:
    return {"q": plan.Q, "k": plan.K}


def _lengths(plan: am.Plan) -> dict[str, Any]:
    return {**_q_and_k(plan), "batch": plan.B}


def _items(plan: am.Plan) -> dict[str, Any]:
    return {"batch": BATCH if plan.B == 1 else plan.B}


VARIANTS = {
    "dense": Variant("dense"),
    "dense_torch": Variant("dense_torch"),
    "integers": Variant("integers"),
    "integers, uint8": Variant("integers", always(dtype="uint8")),
    "additive": Variant("additive"),
    "additive, float16, -1e9": Variant("additive", always(dtype="float16", masked=-1e9)),
    "additive, bfloat16, least": Variant("additive", always(dtype="bfloat16", masked="min")),
    "additive, float64, -1000": Variant("additive", always(dtype="float64", masked=-1000)),
    "hf_2d": Variant("hf_2d", hints=lambda plan: {"q": plan.Q}),
    "hf_2d, written out": Variant("hf_2d", _items, lambda plan: {"q": plan.Q}),
    "hf_2d, decoder": Variant("hf_2d", always(causal=True), lambda plan: {"q": plan.Q, "causal": True}),
    "hf_4d": Variant("hf_4d"),
    "hf_4d, bfloat16": Variant("hf_4d", always(dtype="bfloat16")),
    "sdpa": Variant("sdpa", hints=_q_and_k),
    "flex": Variant("flex"),
    "flex, blocks of 2 by 3, narrow": Variant("flex", always(block_size=(2, 3), narrow=True)),
    "flash_varlen": Variant("flash_varlen", hints=_lengths),
    "flash_varlen, torch, written out": Variant(
        "flash_varlen",
        lambda plan: {"library": "torch", **_items(plan)},
        lambda plan: {**_lengths(plan), **_items(plan)},
    ),
    "hf_position_ids": Variant("hf_position_ids"),
    "hf_position_ids, from 2, written out": Variant("hf_position_ids", lambda plan: {"start": 2, **_items(plan)}),
    "hf_sliding_window": Variant("hf_sliding_window", hints=_q_and_k),
    "hf_sliding_window, mask": Variant(
        "hf_sliding_window", always(path="mask"), lambda plan: {"path": "mask", **_q_and_k(plan)}
    ),
    "hf_sliding_window, flash": Variant(
        "hf_sliding_window", always(path="flash"), lambda plan: {"path": "flash", **_q_and_k(plan)}
    ),
    "flashmask": Variant("flashmask", hints=lambda plan: {"q": plan.Q}),
    "flashmask, written out": Variant("flashmask", _items, lambda plan: {"q": plan.Q}),
    "xformers": Variant("xformers", hints=_lengths),
    "xformers, written out": Variant("xformers", _items, lambda plan: {**_lengths(plan), **_items(plan)}),
    "flashinfer": Variant("flashinfer"),
    "flashinfer, written out": Variant("flashinfer", _items),
    "transformer_engine": Variant("transformer_engine", hints=_q_and_k),
    "transformer_engine, written out": Variant("transformer_engine", _items, _q_and_k),
    "cudnn": Variant("cudnn", hints=_q_and_k),
    "cudnn, written out": Variant("cudnn", _items, _q_and_k),
    "magi": Variant("magi", hints=_lengths),
    "magi, written out": Variant("magi", _items, lambda plan: {**_lengths(plan), **_items(plan)}),
    "torch_encoder": Variant("torch_encoder", _heads, lambda plan: {**_heads(plan), "q": plan.Q}),
    "torch_encoder, written out": Variant(
        "torch_encoder",
        lambda plan: {**_heads(plan), **_items(plan)},
        lambda plan: {**_heads(plan), "q": plan.Q},
    ),
    "torch_encoder, nested": Variant(
        "torch_encoder", lambda plan: {"form": "nested", **_items(plan)}, lambda plan: {"q": plan.Q}
    ),
    "lists": Variant("lists", hints=lambda plan: {"q": plan.Q}),
    "lists, written out, decoder": Variant(
        "lists",
        lambda plan: {"causal": True, **_items(plan)},
        lambda plan: {"causal": True, "q": plan.Q},
    ),
    "mha": Variant("mha", _heads, lambda plan: {**_heads(plan), **_q_and_k(plan)}),
    "mha, written out": Variant(
        "mha",
        lambda plan: {**_heads(plan), **_items(plan)},
        lambda plan: {**_heads(plan), **_q_and_k(plan)},
    ),
}

# Of frameworks other than torch.
VARIANTS |= {
    "jax": Variant("jax", hints=lambda plan: {"q": plan.Q, "k": plan.K}),
    "jax, written out": Variant("jax", _items, lambda plan: {"q": plan.Q, "k": plan.K}),
    "flax": Variant("flax"),
    "keras": Variant("keras", hints=lambda plan: {"q": plan.Q, "k": plan.K}),
    "keras, layer of a window": Variant(
        "keras", always(sliding_window=2), lambda plan: {"q": plan.Q, "k": plan.K, "sliding_window": 2}
    ),
    "splash": Variant("splash"),
    "splash, of all heads": Variant("splash", lambda plan: {"heads": HEADS if plan.H == 1 else plan.H}),
    "tokamax": Variant("tokamax", hints=lambda plan: {"q": plan.Q, "k": plan.K}),
    "onnx": Variant("onnx", hints=lambda plan: {"q": plan.Q, "k": plan.K}),
    "onnx, opset 23, float32": Variant(
        "onnx", always(opset=23, dtype="float32"), lambda plan: {"q": plan.Q, "k": plan.K}
    ),
    "onnx, opset 25, written out": Variant(
        "onnx", lambda plan: {"opset": 25, **_items(plan)}, lambda plan: {"q": plan.Q, "k": plan.K}
    ),
}


@cache
def plans() -> dict[str, am.Plan]:
    """Every kind on every shape."""
    return {
        f"{kind}, {shape}": am.compile(mask(q, k), q=q, k=k, offset=offset)
        for kind, mask in KINDS.items()
        for shape, (q, k, offset) in SHAPES.items()
    }
