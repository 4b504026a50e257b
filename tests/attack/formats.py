"""Every format there and back, and each form against our own reading of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import attnmask as am
from attnmask.errors import CannotExpressError
from tests.attack.inputs.readers import READERS
from tests.attack.questions import same_pairs
from tests.attack.random_masks import Case, Drawer, case_of

Options = dict[str, Any]
FLOATS = ("float32", "float16", "bfloat16", "float64")
# What they can hold is every set there is.
ALWAYS = {"dense", "dense_torch", "flax", "integers", "additive", "hf_4d", "sdpa", "flex", "jax", "onnx", "tokamax"}
ALWAYS |= {"transformer_engine"}


def _items(case: Case, always: bool = False) -> Options:
    """How many items are written out."""
    written = case.plan.B if case.plan.B > 1 else case.B
    return {"batch": written} if always or case.chance.random() < 0.5 else {}


def _additive(case: Case) -> Options:
    return {"dtype": case.chance.choice(FLOATS), "masked": case.chance.choice(("-inf", "min", -1e9, -1000, -10000.0))}


def _flex(case: Case) -> Options:
    sizes = (1, 2, 3, 4, 8, 128)
    size = case.chance.choice((128, case.chance.choice(sizes), tuple(case.chance.choices(sizes, k=2))))
    return {"block_size": size, "narrow": case.chance.random() < 0.5}


def _torch_encoder(case: Case) -> Options:
    heads = {"num_heads": case.plan.H if case.plan.H > 1 else case.H}
    return {"form": "nested"} | _items(case) if case.chance.random() < 0.3 else heads | _items(case)


OPTIONS: dict[str, Callable[[Case], Options]] = {
    "integers": lambda case: {"dtype": case.chance.choice(("int64", "uint8", "int16"))},
    "additive": _additive,
    "hf_4d": lambda case: {"dtype": case.chance.choice(FLOATS)},
    "hf_2d": lambda case: {"causal": case.chance.random() < 0.5} | _items(case),
    "lists": lambda case: {"causal": case.chance.random() < 0.5} | _items(case),
    "mha": lambda case: {"num_heads": case.plan.H if case.plan.H > 1 else case.H} | _items(case),
    "torch_encoder": _torch_encoder,
    "flex": _flex,
    "flash_varlen": lambda case: {"library": case.chance.choice(("flash_attn", "torch"))} | _items(case),
    "hf_position_ids": lambda case: {"start": case.chance.choice((0, 2))} | _items(case),
    "hf_sliding_window": lambda case: {"path": case.chance.choice((None, "mask", "flash"))},
    "keras": lambda case: {"sliding_window": case.chance.choice((None, 1, 2, 9))},
    "onnx": lambda case: (
        {"opset": case.chance.choice((23, 24, 25)), "dtype": case.chance.choice(("bool", "float32"))} | _items(case)
    ),
    "splash": lambda case: {"heads": case.plan.H if case.plan.H > 1 else case.H},
    **dict.fromkeys(
        ("flashmask", "flashinfer", "transformer_engine", "cudnn", "magi", "xformers", "jax"), lambda case: _items(case)
    ),
}
LENGTHS_HINTED = {"sdpa", "flash_varlen", "hf_sliding_window", "xformers", "transformer_engine", "cudnn", "magi", "mha"}
LENGTHS_HINTED |= {"jax", "keras", "tokamax", "onnx"}
QUERIES_HINTED = {"hf_2d", "lists", "flashmask", "torch_encoder"}
# They write the items one after the other, so that reading needs their number.
FLAT = {"flash_varlen", "xformers", "magi"}


def ask_format(case: Case, name: str) -> str:
    """One format: a refusal with reasons, or a form that both readings find to be the set; says which."""
    options = OPTIONS.get(name, lambda _: {})(case)
    where = f"{name} with {options}"
    try:
        form = case.plan.to(name, **options)
    except CannotExpressError as refused:
        if name in ALWAYS or not refused.reasons or not all(refused.reasons):
            raise AssertionError(f"{where} is refused") from refused
        return "refused"
    own = {**options, "B": options.get("batch", case.plan.B)}
    same_pairs(where, READERS[name](form, case.Q, case.K, own), case.want)
    again = am.lift(name, form, **_hints(case, name, options))
    assert again == case.plan, f"{where} is read as another set"
    return "written"


def _hints(case: Case, name: str, options: Options) -> Options:
    hints: Options = {"q": case.Q} if name in QUERIES_HINTED | LENGTHS_HINTED else {}
    if name in LENGTHS_HINTED:
        hints["k"] = case.K
    if name in FLAT:
        hints["batch"] = options.get("batch", case.plan.B)
    kept = {"hf_2d": ["causal"], "lists": ["causal"], "keras": ["sliding_window"], "mha": ["num_heads"]}
    kept |= {"torch_encoder": ["num_heads"], "hf_sliding_window": ["path"]}
    return hints | {one: options[one] for one in kept.get(name, []) if one in options}


# Random trees are seldom what a library has a name for: these are, on the boxes that libraries have.
NAMED: tuple[tuple[str, ...], ...] = (
    ("causal",),
    ("window",),
    ("padding",),
    ("documents",),
    ("causal", "padding"),
    ("causal", "documents"),
    ("causal", "window"),
    ("window", "documents"),
    ("causal", "window", "padding"),
    ("causal", "window", "documents"),
    ("cross_padding",),
    ("padding", "documents"),
    ("causal", "shared_prefix"),
    ("chunked", "causal"),
    ("full",),
    ("empty",),
)


def named_case(seed: int) -> Case:
    """A mask such as libraries know, from a seed."""
    chance = random.Random(f"named {seed}")
    draw = Drawer(chance)
    draw.Q, draw.K = max(draw.Q, 1), max(draw.K, 1)
    if chance.random() < 0.6:
        draw.K = draw.Q
    draw.offset = chance.choice((0, draw.K - draw.Q))
    parts = [draw.atom((name,)) for name in chance.choice(NAMED)]
    return Case(seed, parts[0] if len(parts) == 1 else ("and", *parts), *draw.box, chance)


def format_case(seed: int) -> Case:
    """Half of the cases are of the kinds that libraries have names for."""
    return named_case(seed) if np.random.default_rng(seed).random() < 0.5 else case_of(seed)
