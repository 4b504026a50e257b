"""Arrays that others made: of NumPy and of torch, of every dtype, with gradients, not contiguous."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attnmask as am
from attnmask.formats import lift, lower

PLAN = am.compile(am.causal() & am.padding(lengths=[4, 2]), q=4)
PAIRS = PLAN.runs.to_dense()
ADDITIVE = torch.from_numpy(np.where(PAIRS, 0.0, -1e4))
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_additive_of_every_float(dtype: torch.dtype) -> None:
    tensor = ADDITIVE.to(dtype, copy=True).requires_grad_()
    assert lift("additive", tensor) == PLAN
    assert lift("hf_4d", tensor) == PLAN
    assert lift("sdpa", {"attn_mask": tensor}) == PLAN


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_additive_of_numpy(dtype: str) -> None:
    assert lift("additive", ADDITIVE.numpy().astype(dtype)) == PLAN


@pytest.mark.jax
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_additive_of_jax(dtype: str) -> None:
    jnp = pytest.importorskip("jax.numpy")
    assert lift("additive", jnp.asarray(ADDITIVE.numpy(), dtype=dtype)) == PLAN
    assert lift("jax", {"mask": jnp.asarray(PAIRS)}) == PLAN


@pytest.mark.parametrize("constant", [-1000, -10000, -65504, -1e9, -np.inf, torch.finfo(torch.float32).min])
def test_additive_of_every_constant(constant: float) -> None:
    assert lift("additive", np.where(PAIRS, 0.0, constant)) == PLAN


def test_additive_of_several_constants_and_of_negative_zero() -> None:
    # As when a causal mask and a padding mask were added.
    assert lift("additive", np.where(PAIRS, -0.0, np.where(np.tri(4, dtype=bool), -1e4, -2e4))) == PLAN


@pytest.mark.parametrize("value", [-999, -1.0, -1e-9, 1e-9, 0.5, 1.5, np.inf, np.nan])
def test_any_other_value_is_refused_where_it_stands(value: float) -> None:
    array = np.where(PAIRS, 0.0, -1e4)
    array[1, 0, 2, 1] = value
    with pytest.raises(am.AttnMaskError, match=r"array\[1, 0, 2, 1\] is "):
        lift("additive", array)


def test_zeros_are_the_full_set_under_a_name_that_says_additive() -> None:
    full = am.compile(am.full(), q=3)
    zeros = np.zeros((3, 3))
    assert lift("additive", zeros) == full
    assert lift("hf_4d", zeros[None, None]) == full
    assert lift("sdpa", {"attn_mask": zeros}) == full


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool], ids=str)
def test_integers_of_every_type(dtype: torch.dtype) -> None:
    assert lift("integers", torch.from_numpy(PAIRS).to(dtype)) == PLAN
    assert lift("integers", (~torch.from_numpy(PAIRS)).to(dtype), polarity="masked_out") == PLAN


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_with_a_polarity(dtype: torch.dtype) -> None:
    assert lift("integers", torch.from_numpy(PAIRS).to(dtype), polarity="attends") == PLAN
    assert lift("integers", 1 - torch.from_numpy(PAIRS).to(dtype), polarity="masked_out") == PLAN


def not_contiguous(array: Any) -> Any:
    """The same values with other strides."""
    turned = array.swapaxes(2, 3) if isinstance(array, np.ndarray) else array.transpose(2, 3)
    copied = turned.copy() if isinstance(array, np.ndarray) else turned.contiguous()
    return copied.swapaxes(2, 3) if isinstance(array, np.ndarray) else copied.transpose(2, 3)


@pytest.mark.parametrize("format", ["dense", "dense_torch", "integers", "additive", "hf_4d"])
def test_strides_and_broadcast_axes_do_not_matter(format: str) -> None:
    array = lower(PLAN, format)
    assert lift(format, not_contiguous(array)) == PLAN
    repeat = np.broadcast_to if isinstance(array, np.ndarray) else torch.Tensor.expand
    assert lift(format, repeat(array, (2, 3, 4, 4))) == PLAN


def test_two_axes_are_pairs() -> None:
    causal = am.compile(am.causal(), q=3)
    for format in ("dense", "dense_torch", "integers", "additive"):
        assert lift(format, lower(causal, format)[0, 0]) == causal
    assert lift("sdpa", {"attn_mask": lower(causal, "dense_torch")[0, 0]}) == causal


def test_bools_are_lists_too() -> None:
    assert lift("dense", [[True, False], [True, True]]) == am.compile(am.causal(), q=2)


def test_hf_2d_of_bools_and_integers() -> None:
    plan = am.compile(am.padding(attention_mask=[[1, 0, 1], [0, 0, 1]]), q=3)
    keys = torch.tensor([[1, 0, 1], [0, 0, 1]])
    for array in (keys, keys.bool(), keys.to(torch.uint8), keys.numpy(), keys.tolist(), keys.T.contiguous().T):
        assert lift("hf_2d", array) == plan


def test_one_mask_of_keys_for_all_rows_broadcasts_to_the_hinted_rows() -> None:
    keys = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    plan = am.compile(am.padding(attention_mask=keys.numpy()), q=5, k=3, align="end")
    assert lift("sdpa", {"attn_mask": keys[:, None, None]}, q=5) == plan


def test_padding_of_multihead_attention_alone_is_of_self_attention() -> None:
    masked_out = torch.tensor([[False, False, True], [False, True, True]])
    assert lift("mha", {"key_padding_mask": masked_out}) == am.compile(am.padding(lengths=[2, 1]), q=3)


def test_floats_of_multihead_attention_are_additive() -> None:
    plan = am.compile(am.causal() & am.padding(attention_mask=[[1, 1, 1], [0, 1, 1]]), q=3)
    keys = torch.tensor([[0.0, 0.0, 0.0], [-torch.inf, 0.0, 0.0]])
    pairs = torch.nn.Transformer.generate_square_subsequent_mask(3)
    assert lift("mha", {"attn_mask": pairs, "key_padding_mask": keys}) == plan
    assert lift("mha", {"attn_mask": pairs}) == am.compile(am.causal(), q=3)


def test_numbers_of_a_lowered_mask_are_where_they_should_be() -> None:
    causal = am.compile(am.causal(), q=2)
    for dtype, least in [("float16", -65504), (torch.bfloat16, torch.finfo(torch.bfloat16).min)]:
        assert lower(causal, "additive", dtype=dtype, masked=-1e39)[0, 0, 0].tolist() == [0, least]
        assert lower(causal, "additive", dtype=dtype, masked="min")[0, 0, 0].tolist() == [0, least]
        assert lower(causal, "additive", dtype=dtype)[0, 0, 0].tolist() == [0, -np.inf]
        assert lower(causal, "additive", dtype=dtype, masked=-1024)[0, 0, 0].tolist() == [0, -1024]
