"""Whatever can be read from a form, made at random as its library would take it, can be written in it again."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.formats import lift, lower
from attnmask.formats.huggingface import hf_position_ids, hf_sliding_window
from attnmask.formats.kernels import cudnn, xformers
from attnmask.formats.kernels import xformers_classes as bias
from attnmask.formats.kernels.flash_varlen import Varlen

SIDES = st.integers(-1, 4)
LENGTHS = st.integers(0, 4)
TOKENS = st.integers(0, 5)


def chosen(draw: Any, count: int, total: int) -> torch.Tensor:
    """So many indices below a total, ascending."""
    return torch.tensor(sorted(draw(st.permutations(range(total)))[:count]), dtype=torch.int64)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(st.tuples(st.integers(1, 4), LENGTHS, LENGTHS), min_size=1, max_size=4), SIDES, SIDES)
def test_flash_varlen(data: Any, sequences: list[tuple[int, int, int]], left: int, right: int) -> None:
    # Sequences of several items, with tokens of padding anywhere between them.
    items = sorted(item for item, _, _ in sequences)
    counts = [[lengths[axis] for _, *lengths in sequences] for axis in (0, 1)]
    q, k = (max(sum(c for item, c in zip(items, own, strict=True) if item == i) for i in range(5)) for own in counts)
    q, k = q + data.draw(st.integers(0, 2)), k + data.draw(st.integers(0, 2))
    indices = []
    for own, axis in zip(counts, (q, k), strict=True):
        per_item = [sum(c for item, c in zip(items, own, strict=True) if item == i) for i in range(5)]
        indices.append(torch.cat([chosen(data.draw, n, axis) + i * axis for i, n in enumerate(per_item)]))
    arguments = {
        "cu_seqlens_q": np.append(0, np.cumsum(counts[0])),
        "cu_seqlens_k": np.append(0, np.cumsum(counts[1])),
        "max_seqlen_q": 9,
        "max_seqlen_k": 9,
        "causal": False,
        "window_size": (left, right),
    }
    plan = lift("flash_varlen", Varlen(*indices, arguments), q=q, k=k, batch=5)
    assert lift("flash_varlen", lower(plan, "flash_varlen"), q=q, k=k, batch=plan.B) == plan


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["TOP_LEFT", "BOTTOM_RIGHT"]),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(0, 3),
    st.lists(st.tuples(TOKENS, TOKENS), max_size=3),
    TOKENS,
    TOKENS,
)
def test_cudnn(alignment: str, left: int, right: int, lengths: list[tuple[int, int]], q: int, k: int) -> None:
    options = {
        "diagonal_alignment": alignment,
        "diagonal_band_left_bound": left,
        "diagonal_band_right_bound": right,
        "use_padding_mask": bool(lengths),
        "seq_len_q": [min(own, q) for own, _ in lengths] or None,
        "seq_len_kv": [min(own, k) for _, own in lengths] or None,
    }
    plan = lift("cudnn", options, q=q, k=k)
    assert lift("cudnn", lower(plan, "cudnn"), q=q, k=k) == plan


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 2), st.integers(1, 2), TOKENS, TOKENS, st.sampled_from([1, 2, 4]), st.booleans())
def test_flashmask(data: Any, b: int, h: int, q: int, k: int, numbers: int, causal: bool) -> None:
    numbers, q = (min(numbers, 2), k) if causal else (max(numbers, 2), q)
    size = b * h * k * numbers
    drawn = [data.draw(st.integers(-1, 7)) for _ in range(size)]
    bounds = np.array(drawn, dtype=np.int32).reshape(b, h, k, numbers)
    plan = lift("flashmask", {"startend_row_indices": bounds, "causal": causal}, q=q)
    assert lift("flashmask", lower(plan, "flashmask"), q=q) == plan


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=2), st.integers(0, 2))
def test_hf_position_ids(documents: list[list[int]], start: int) -> None:
    longest = max(map(sum, documents))
    rows = [[start + i for n in [*own, longest - sum(own)] for i in range(n)] for own in documents]
    plan = lift("hf_position_ids", rows)
    written = lower(plan, "hf_position_ids", start=start, batch=len(rows))
    assert written["position_ids"].tolist() == rows


@settings(max_examples=200, deadline=None)
@given(st.none() | st.integers(1, 5), st.booleans(), st.sampled_from(["mask", "flash"]), TOKENS, st.integers(0, 3))
def test_hf_sliding_window(sliding_window: int | None, is_causal: bool, path: str, q: int, past: int) -> None:
    config = {"is_causal": is_causal, "sliding_window": sliding_window}
    plan = lift("hf_sliding_window", config, q=q, k=q + past, path=path)
    written = lower(plan, "hf_sliding_window", path=path)
    assert lift("hf_sliding_window", written, q=q, k=q + past, path=path) == plan


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=3),
    st.sampled_from(
        [
            bias.BlockDiagonalMask,
            bias.BlockDiagonalCausalMask,
            bias.BlockDiagonalCausalFromBottomRightMask,
            bias.BlockDiagonalCausalLocalAttentionMask,
            bias.BlockDiagonalCausalLocalAttentionFromBottomRightMask,
        ]
    ),
    st.integers(1, 4),
)
def test_xformers(blocks: list[tuple[int, int]], kind: Any, window: int) -> None:
    # Blocks of one length, or with more keys than queries where that is what the class is for.
    more = "FromBottomRight" in kind.__name__
    lengths = np.array([own for own, _ in blocks]), np.array([own + extra * more for own, extra in blocks])
    infos = [bias.lengths_info(np.append(0, np.cumsum(own)), "cpu") for own in lengths]
    numbers = {"_window_size": window} if "Local" in kind.__name__ else {}
    plan = lift("xformers", kind(*infos, **numbers))
    assert lift("xformers", lower(plan, "xformers"), q=plan.Q, k=plan.K) == plan


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["no_mask", "causal", "causal_bottom_right"]), SIDES, SIDES, st.integers(0, 6), st.integers(0, 6)
)
def test_transformer_engine(kind: str, left: int, right: int, q: int, k: int) -> None:
    if kind == "no_mask" and -1 in (left, right):
        left = right = -1
    plan = lift("transformer_engine", {"attn_mask_type": kind, "window_size": (left, right)}, q=q, k=k)
    assert lift("transformer_engine", lower(plan, "transformer_engine"), q=q, k=k) == plan


def all_plans(size: int) -> list[am.Plan]:
    """Every set of size x size."""
    bits = (np.arange(2 ** (size * size))[:, None] >> np.arange(size * size)) & 1
    return [plan_from_dense(one.astype(bool).reshape(1, 1, size, size)) for one in bits]


def test_cudnn_refuses_only_what_no_options_mean() -> None:
    lengths = [None, *product(range(4), repeat=2)]
    readable = {
        lift(
            "cudnn",
            {
                "diagonal_alignment": alignment,
                "diagonal_band_left_bound": left,
                "diagonal_band_right_bound": right,
                "use_padding_mask": own is not None,
                "seq_len_q": own and [own[0]],
                "seq_len_kv": own and [own[1]],
            },
            q=3,
            k=3,
        )
        for alignment, left, right, own in product(
            ["TOP_LEFT", "BOTTOM_RIGHT"], [None, 1, 2, 3], [None, 0, 1, 2], lengths
        )
    }
    for plan in all_plans(3):
        assert bool(cudnn.refusals(plan)) == (plan not in readable), plan.runs.to_dense().astype(int)


@pytest.mark.parametrize("path", ["mask", "flash"])
def test_hf_sliding_window_refuses_only_what_no_config_means(path: str) -> None:
    readable = {
        lift("hf_sliding_window", {"is_causal": is_causal, "sliding_window": own}, q=3, k=3, path=path)
        for is_causal, own in product([True, False], [None, 1, 2, 3])
    }
    for plan in all_plans(3):
        assert bool(hf_sliding_window.refusals(plan, path=path)) == (plan not in readable)


def test_hf_position_ids_refuses_only_what_no_positions_mean() -> None:
    restarts = product([0, 1], repeat=2)
    readable = {lift("hf_position_ids", [[0, 0 if a else 1, 0 if b else (1 if a else 2)]]) for a, b in restarts}
    for plan in all_plans(3):
        assert bool(hf_position_ids.refusals(plan)) == (plan not in readable)


def test_xformers_refuses_only_what_no_bias_means() -> None:
    blocks = [[3], [1, 2], [2, 1], [1, 1, 1]]
    kinds = [bias.BlockDiagonalMask, bias.BlockDiagonalCausalMask, bias.BlockDiagonalCausalFromBottomRightMask]
    local = [
        bias.BlockDiagonalCausalLocalAttentionMask,
        bias.BlockDiagonalCausalLocalAttentionFromBottomRightMask,
    ]
    infos = [
        [bias.lengths_info(np.append(0, np.cumsum(own)), "cpu") for own in pair]
        for pair in product(blocks, blocks)
        if len(pair[0]) == len(pair[1])
    ]
    padded = [(bias.lengths_info(np.array([0, 3]), "cpu"), bias.padded_info(np.array([n]), 3, "cpu")) for n in range(4)]
    windows = list(product(range(4), repeat=2))
    readable = {
        lift("xformers", one, q=3, k=3)
        for one in [
            None,
            bias.LowerTriangularMask(),
            *(bias.LocalAttentionFromBottomRightMask(*sides) for sides in windows),
            *(kind(*pair) for pair, kind in product(infos, kinds)),
            *(kind(*pair, own) for pair, kind, own in product(infos, local, range(1, 4))),
            *(bias.BlockDiagonalPaddedKeysMask(*pair) for pair in padded),
            *(bias.BlockDiagonalCausalWithOffsetPaddedKeysMask(*pair) for pair in padded),
            *(
                bias.BlockDiagonalLocalAttentionPaddedKeysMask(*pair, *sides)
                for pair, sides in product(padded, windows)
            ),
        ]
    }
    for plan in all_plans(3):
        if plan.empty_rows == 0:
            assert bool(xformers.refusals(plan)) == (plan not in readable), plan.runs.to_dense().astype(int)


def test_a_form_that_is_read_wrongly_is_seen() -> None:
    # The comparison itself must be able to fail.
    plan = lift("cudnn", {"diagonal_band_right_bound": 0}, q=3, k=3)
    assert lift("cudnn", {**lower(plan, "cudnn"), "diagonal_band_right_bound": 1}, q=3, k=3) != plan
    assert am.compile(am.causal(), q=3) == plan
