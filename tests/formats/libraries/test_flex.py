"""BlockMask: equal to torch's own, tensor for tensor; right in flex_attention; compiled once for a structure."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.formats import lift, lower
from tests.formats.cases import KINDS
from tests.strategies import cases, plan_of

LISTS = [f"{full}{side}_{what}" for full in ("", "full_") for side in ("kv", "q") for what in ("num_blocks", "indices")]
LENGTHS = [(64, 64), (100, 257), (257, 100)]
BLOCKS = [16, 64, (32, 16)]


def block_mask_of_torch(plan: am.Plan, block_size: int | tuple[int, int]) -> BlockMask:
    """What torch makes of every pair of the set."""
    dense = lower(plan, "dense_torch")
    return create_block_mask(
        lambda b, h, q, k: dense[b, h, q, k], plan.B, plan.H, plan.Q, plan.K, "cpu", BLOCK_SIZE=block_size
    )


def assert_same_tensors(ours: BlockMask, torchs: BlockMask) -> None:
    for name in LISTS:
        left, right = getattr(ours, name), getattr(torchs, name)
        assert left.dtype == right.dtype, name
        assert left.shape == right.shape, name
        assert torch.equal(left, right), name
    assert (ours.seq_lengths, ours.BLOCK_SIZE, ours.shape) == (torchs.seq_lengths, torchs.BLOCK_SIZE, torchs.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_equal_to_create_block_mask(kind: str) -> None:
    for q, k in LENGTHS:
        if kind in ("spans", "grid") and q != k:
            continue
        plan = am.compile(KINDS[kind](q, k), q=q, k=k, offset=0)
        for block_size in BLOCKS:
            torchs = block_mask_of_torch(plan, block_size)
            assert_same_tensors(lower(plan, "flex", block_size=block_size), torchs)
            assert lift("flex", torchs) == plan


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from([1, 2, 3, (2, 5), (4, 1), 16]))
def test_any_composition_is_equal_to_create_block_mask(case: Any, block_size: int | tuple[int, int]) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    if plan.Q and plan.K:
        assert_same_tensors(lower(plan, "flex", block_size=block_size), block_mask_of_torch(plan, block_size))
    for narrow in (False, True):
        assert lift("flex", lower(plan, "flex", block_size=block_size, narrow=narrow)) == plan


def test_narrow_lists_are_the_same_up_to_their_length_and_small() -> None:
    plan = am.compile(am.causal() & am.window(left=300, right=0), q=8192)
    wide, narrow = lower(plan, "flex", block_size=64), lower(plan, "flex", block_size=64, narrow=True)
    for name in LISTS[0::2]:
        number, indices = getattr(wide, name), name.replace("num_blocks", "indices")
        assert torch.equal(number, getattr(narrow, name))
        assert getattr(narrow, indices).shape == getattr(wide, indices).shape
        listed = torch.arange(128) < number[..., None]
        assert torch.equal(getattr(narrow, indices)[listed], getattr(wide, indices)[listed])
    assert torch.equal(narrow.to_dense(), wide.to_dense())
    assert narrow.kv_indices.untyped_storage().nbytes() < wide.kv_indices.untyped_storage().nbytes() / 10


def eager(plan: am.Plan, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """flex_attention and SDPA under one plan, queries as many as it has."""
    torch.manual_seed(0)
    query = torch.randn(plan.B, plan.H, plan.Q, 16)
    key, value = torch.randn(2, plan.B, plan.H, plan.K, 16)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        flex = flex_attention(query, key, value, block_mask=lower(plan, "flex", **options))
    return flex, scaled_dot_product_attention(query, key, value, attn_mask=lower(plan, "dense_torch"))


@pytest.mark.parametrize("kind", KINDS)
def test_flex_attention_attends_to_the_set(kind: str) -> None:
    flex, sdpa = eager(am.compile(KINDS[kind](37, 37), q=37), block_size=16)
    torch.testing.assert_close(flex, sdpa)


def _packed(random: np.random.Generator) -> am.Mask:
    lengths = [random.multinomial(256, [0.25] * 4) for _ in range(2)]
    return am.causal() & am.documents(lengths=lengths) & am.padding(lengths=random.integers(128, 256, 2))


def _streaming(random: np.random.Generator) -> am.Mask:
    width, sinks = (int(number) for number in random.integers(8, 64, 2))
    return am.causal() & (am.window(left=width, right=0) | am.sinks(sinks)) & am.padding(lengths=[256, width + 100])


def _scattered(random: np.random.Generator) -> am.Mask:
    return am.dense(random.random((2, 1, 256, 256)) < 0.3)


STRUCTURES: dict[str, Callable[[np.random.Generator], am.Mask]] = {
    "one run a row": _packed,
    "two runs a row": _streaming,
    "many runs a row": _scattered,
}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("narrow", [False, True], ids=["", "narrow"])
def test_twenty_batches_of_one_structure_compile_once(structure: str, narrow: bool) -> None:
    torch.compiler.reset()
    backend = CompileCounterWithBackend("inductor")
    compiled = torch.compile(flex_attention, backend=backend)
    query, key, value = torch.randn(3, 2, 2, 256, 32)
    random, strides = np.random.default_rng(0), set[tuple[tuple[int, ...], ...]]()
    for _ in range(20):
        plan = am.compile(STRUCTURES[structure](random), q=256)
        block_mask = lower(plan, "flex", block_size=32, narrow=narrow)
        out = compiled(query, key, value, block_mask=block_mask)
        expected = scaled_dot_product_attention(query, key, value, attn_mask=lower(plan, "dense_torch"))
        torch.testing.assert_close(out, expected)
        strides.add(tuple(getattr(block_mask, name).stride() for name in LISTS[1::2]))
    # Narrow lists are structure too: those of another width are other strides.
    assert 1 <= backend.frame_count <= len(strides)
    assert narrow or len(strides) == 1


def test_a_mask_mod_of_any_kind_is_read_back() -> None:
    ids = torch.tensor([0] * 70 + [1] * 80)
    theirs = create_block_mask(lambda b, h, q, k: (ids[q] == ids[k]) & (q >= k), 3, 2, 150, 150, "cpu", BLOCK_SIZE=64)
    assert lift("flex", theirs) == am.compile(am.causal() & am.documents(lengths=[70, 80]), q=150)
    without_full = create_block_mask(lambda b, h, q, k: q >= k, None, None, 99, 99, "cpu", separate_full_blocks=False)
    assert lift("flex", without_full) == am.compile(am.causal(), q=99)


BAD_OPTIONS = [
    {"block_size": 0},
    {"block_size": "x"},
    {"block_size": (16, 0)},
    {"block_size": (16, 16, 16)},
    {"block_size": 1.5},
    {"device": "nope"},
    {"device": None},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        lower(am.compile(am.causal(), q=4), "flex", **options)


def spoilt(**changes: Any) -> BlockMask:
    """A block mask with some tensors exchanged."""
    block_mask = lower(am.compile(am.causal(), q=64), "flex", block_size=16)
    for name, value in changes.items():
        setattr(block_mask, name, value)
    return block_mask


BAD_BLOCK_MASKS: dict[str, Callable[[], Any]] = {
    "no BlockMask": lambda: torch.ones(3, 3),
    "sliced": lambda: spoilt()[:, :, 1:],
    "outside": lambda: spoilt(kv_indices=torch.full((1, 1, 4, 4), 4)),
    "before": lambda: spoilt(full_kv_indices=torch.full((1, 1, 4, 4), -1)),
    "twice": lambda: spoilt(full_kv_num_blocks=torch.full((1, 1, 4), 4)),
    "two axes": lambda: spoilt(kv_indices=torch.zeros(4, 4)),
    "other shapes": lambda: spoilt(full_kv_indices=torch.zeros(1, 1, 3, 4)),
}


@pytest.mark.parametrize("case", BAD_BLOCK_MASKS)
def test_a_block_mask_that_is_none_is_refused(case: str) -> None:
    with pytest.raises(ArgumentError, match=r"lift\('flex'"):
        lift("flex", BAD_BLOCK_MASKS[case]())
