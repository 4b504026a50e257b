"""The forms of libraries, against values from their own documentation and against what transformers and torch make."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement, pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DataCollatorWithFlattening
from transformers.modeling_flash_attention_utils import _get_unpad_data

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.errors import CannotExpressError
from attnmask.formats import lift, lower
from attnmask.formats.kernels import flash_varlen
from attnmask.formats.kernels import xformers_classes as bias
from tests.atoms import bools
from tests.formats.cases import plans
from tests.formats.meaning import pairs_of

PLANS = plans()


def lists_of(form: dict[str, Any]) -> dict[str, Any]:
    """The same with lists instead of tensors."""
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in form.items()}


# flash-attention's varlen


def test_varlen_takes_the_tokens_that_unpad_takes() -> None:
    tokens = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
    plan = am.compile(am.causal() & am.padding(attention_mask=tokens.numpy(), of="both"), q=4)
    lowered = lower(plan, "flash_varlen")
    indices, bounds, longest = _get_unpad_data(tokens)
    assert torch.equal(lowered.indices_q, indices)
    assert torch.equal(lowered.indices_k, indices)
    arguments = lowered.arguments
    assert torch.equal(arguments["cu_seqlens_q"], bounds)
    assert (arguments["max_seqlen_q"], arguments["max_seqlen_k"]) == (longest, longest)
    assert (arguments["causal"], arguments["window_size"]) == (True, (-1, 0))


def test_varlen_of_a_decoder_with_a_cache() -> None:
    # Two items decode one token after 3 and 1 keys: each is a sequence of one query, full.
    plan = am.compile(am.padding(lengths=[3, 1]), q=1, k=4, align="end")
    lowered = lower(plan, "flash_varlen")
    assert lists_of(lowered.arguments) == {
        "cu_seqlens_q": [0, 1, 2],
        "cu_seqlens_k": [0, 3, 4],
        "max_seqlen_q": 1,
        "max_seqlen_k": 3,
        "causal": False,
        "window_size": (-1, -1),
    }
    assert lowered.indices_k.tolist() == [0, 1, 2, 4]


def test_varlen_keeps_a_document_whole_and_a_diagonal_one_sequence() -> None:
    packed = am.causal() & am.window(left=1, right=0) & am.documents(lengths=[3, 2])
    assert lists_of(lower(am.compile(packed, q=5), "flash_varlen").arguments)["cu_seqlens_q"] == [0, 3, 5]
    assert lists_of(lower(am.compile(am.window(0, 0), q=5), "flash_varlen").arguments)["cu_seqlens_q"] == [0, 5]


def every_varlen(size: int) -> set[bytes]:
    """Every set of size x size that packed sequences can mean, by trying all of them."""
    tokens = [chosen for count in range(size + 1) for chosen in combinations(range(size), count)]
    cuts = list(combinations_with_replacement(range(size + 1), size - 1))
    found = set()
    for rows, keys in product(tokens, tokens):
        for row_cuts, key_cuts in product(cuts, cuts):
            if row_cuts[-1] > len(rows) or key_cuts[-1] > len(keys):
                continue
            bounds = [0, *row_cuts, len(rows)], [0, *key_cuts, len(keys)]
            for left, right in product([None, *range(size)], repeat=2):
                found.add(meaning(rows, keys, bounds, left, right, size))
    return found


def meaning(
    rows: tuple[int, ...], keys: tuple[int, ...], bounds: Any, left: int | None, right: int | None, size: int
) -> bytes:
    """Pairs of sequences that are lined up at their ends, as flash-attention's README says it, pair by pair."""
    grid = np.zeros((size, size), dtype=bool)
    for (q0, q1), (k0, k1) in zip(pairwise(bounds[0]), pairwise(bounds[1]), strict=True):
        for i, j in product(range(q1 - q0), range(k1 - k0)):
            ahead = j - (i + (k1 - k0) - (q1 - q0))
            if (left is None or -left <= ahead) and (right is None or ahead <= right):
                grid[rows[q0 + i], keys[k0 + j]] = True
    return grid.tobytes()


def test_varlen_refuses_only_what_no_sequences_mean() -> None:
    expressible = every_varlen(3)
    for number in range(2**9):
        grid = ((number >> np.arange(9)) & 1).astype(bool).reshape(3, 3)
        refused = bool(flash_varlen.refusals(plan_from_dense(grid[None, None])))
        assert refused == (grid.tobytes() not in expressible), grid.astype(int)


def test_varlen_arguments_of_others_are_read_without_indices() -> None:
    arguments = {"cu_seq_q": [0, 1, 3], "cu_seq_k": [0, 2, 6], "max_q": 9, "max_k": 9, "window_size": (1, 0)}
    expected = ["110000", "000110", "000011"]
    plan = lift("flash_varlen", {name: torch.tensor(v) if isinstance(v, list) else v for name, v in arguments.items()})
    assert ["".join(map(str, row)) for row in plan.runs.to_dense()[0, 0].astype(int)] == expected


# transformers


@pytest.mark.parametrize("start", [0, 2])
def test_position_ids_are_those_of_the_flattening_collator(start: int) -> None:
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True, position_ids_start=start)
    made = collator([{"input_ids": [5, 6]}, {"input_ids": [7]}, {"input_ids": [8, 9, 10]}], return_tensors="pt")
    plan = am.compile(am.causal() & am.documents(lengths=[2, 1, 3]), q=6)
    lowered = lower(plan, "hf_position_ids", start=start)
    for name, value in lowered.items():
        assert torch.equal(torch.as_tensor(made[name]).to(torch.int64), torch.as_tensor(value).to(torch.int64)), name
    assert lift("hf_position_ids", {name: made[name] for name in lowered}) == plan


def test_sliding_window_of_a_decoder_with_a_cache() -> None:
    plan = am.compile(am.causal() & am.window(left=3, right=0), q=1, k=9, align="end")
    assert lower(plan, "hf_sliding_window") == {"is_causal": True, "sliding_window": 4}


# FlashMask: the masks of the figures of arXiv:2410.01359, on 6 tokens


@pytest.mark.parametrize(
    ("mask", "causal", "bounds"),
    [
        (am.causal(), True, [[6, 6, 6, 6, 6, 6]]),
        (am.causal() & am.window(left=2, right=0), True, [[3, 4, 5, 6, 6, 6]]),
        (am.causal() & am.documents(lengths=[2, 3, 1]), True, [[2, 2, 5, 5, 5, 6]]),
        (am.documents(lengths=[2, 3, 1]), False, [[2, 2, 5, 5, 5, 6], [0, 0, 2, 2, 2, 5]]),
        (am.causal() | am.prefix(3), False, [[6, 6, 6, 6, 6, 6], [0, 0, 0, 3, 4, 5]]),
        (am.causal() & am.shared_prefix(2, [2, 2]), True, [[6, 6, 4, 4, 6, 6]]),
        (am.full(), False, [[6] * 6, [0] * 6]),
        (am.empty(), True, [[0, 1, 2, 3, 4, 5]]),
    ],
    ids=repr,
)
def test_flashmask_of_well_known_masks(mask: am.Mask, causal: bool, bounds: list[list[int]]) -> None:
    lowered = lower(am.compile(mask, q=6), "flashmask")
    assert lowered["causal"] is causal
    assert lowered["startend_row_indices"][0, 0].T.tolist() == bounds


def numbers_needed(array: np.ndarray) -> int | None:
    """The least numbers a key, by trying each form on every column; None if there is none."""
    q, k = array.shape[2:]
    columns = array.transpose(0, 1, 3, 2).reshape(-1, q)
    keys = np.arange(len(columns)) % max(k, 1)

    def stretches(column: np.ndarray) -> int:
        return int((np.diff(np.append(0, ~column)) == 1).sum())

    def is_one_stretch_to_the_end(column: np.ndarray) -> bool:
        return stretches(column) == 0 or (stretches(column) == 1 and not column[-1:].any())

    causal = q == k and not any(column[:key].any() for column, key in zip(columns, keys, strict=True))
    below = [column[key:] for column, key in zip(columns, keys, strict=True)]
    if causal and all(map(is_one_stretch_to_the_end, below)):
        return 1
    inside = all(len(np.flatnonzero(np.diff(np.flatnonzero(column)) != 1)) == 0 for column in columns)
    if (causal and all(stretches(column) <= 1 for column in below)) or inside:
        return 2
    return 4 if all(stretches(column) <= 2 for column in columns) else None


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_flashmask_takes_as_few_numbers_as_it_can(data: Any, heads: int, q: int, k: int, causal: bool) -> None:
    array = bools(data.draw, 1, heads, q, k) & (np.tri(q, k, dtype=bool) if causal else True)
    needed = numbers_needed(array)
    try:
        lowered = lower(plan_from_dense(array), "flashmask")["startend_row_indices"]
    except CannotExpressError:
        assert needed is None
    else:
        assert lowered.shape[3] == needed


# xformers


def test_xformers_of_well_known_masks() -> None:
    def kind(mask: am.Mask, **lengths: Any) -> str:
        return type(lower(am.compile(mask, **lengths), "xformers")).__name__

    packed = am.documents(lengths=[2, 3])
    assert kind(am.full(), q=4) == "NoneType"
    assert kind(am.causal(), q=4) == "LowerTriangularMask"
    assert kind(am.causal(), q=2, k=4, align="start") == "LowerTriangularMask"
    assert kind(am.causal(), q=2, k=4, align="end") == "LowerTriangularFromBottomRightMask"
    assert kind(am.window(1, 2), q=4, k=5, align="end") == "LocalAttentionFromBottomRightMask"
    assert kind(packed, q=5) == "BlockDiagonalMask"
    assert kind(packed & am.causal(), q=5) == "BlockDiagonalCausalMask"
    assert kind(packed & am.causal() & am.window(1, 0), q=5) == "BlockDiagonalCausalLocalAttentionMask"
    assert kind(am.padding(lengths=[4, 2]), q=1, k=4, align="end") == "BlockDiagonalPaddedKeysMask"


def test_xformers_padded_keys_are_those_of_its_docstring() -> None:
    # _PaddedSeqLenInfo.from_seqlens_padded([2, 3, 2], 4)
    lowered = lower(am.compile(am.padding(lengths=[2, 3, 2]), q=1, k=4, align="end"), "xformers")
    info = lowered.k_seqinfo
    assert (info.max_seqlen, info.min_seqlen, info.padding) == (3, 2, 4)
    assert (info.seqstart_py, info.seqlen_py) == ([0, 4, 8, 12], [2, 3, 2])
    assert (info.seqstart.dtype, info.seqlen.tolist()) == (torch.int32, [2, 3, 2])


def test_a_bias_of_xformers_itself_is_known_by_its_name() -> None:
    class LowerTriangularFromBottomRightMask:
        """As xformers' own: no field."""

    assert lift("xformers", LowerTriangularFromBottomRightMask(), q=2, k=4).pairs == 7
    assert lift("xformers", bias.LowerTriangularMask(), q=2, k=4).pairs == 3


# flashinfer, TransformerEngine, cuDNN


def test_flashinfer_packs_bits_only_where_it_has_to() -> None:
    for mask in (am.full(), am.causal(), am.causal() & am.window(2, 0)):
        assert lower(am.compile(mask, q=3, k=6, align="end"), "flashinfer")["packed_custom_mask"] is None
    custom = lower(am.compile(am.causal(), q=3, k=6, align="start"), "flashinfer")
    bits = np.unpackbits(custom["packed_custom_mask"].numpy(), count=18, bitorder="little").reshape(3, 6)
    assert bits.tolist() == np.tri(3, 6, dtype=int).tolist()
    assert custom["causal"] is False


def test_transformer_engine_reads_the_example_of_its_docstring() -> None:
    # get_full_mask of a pair of masks, attn_mask_type="padding", max_seqlen 4.
    queries = torch.tensor([[False, False, True, True], [False, False, False, False]])[:, None, None]
    keys = torch.tensor([[False, False, False, True], [False, True, True, True]])[:, None, None]
    plan = lift("transformer_engine", {"attn_mask_type": "padding", "attention_mask": (queries, keys)})
    expected = [
        [[0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
        [[0, 1, 1, 1]] * 4,
    ]
    np.testing.assert_array_equal(~plan.runs.to_dense()[:, 0], np.array(expected, dtype=bool))


@pytest.mark.parametrize(
    ("mask", "lengths", "kind"),
    [
        (am.full(), {"q": 2, "k": 4, "align": "end"}, "no_mask"),
        (am.causal(), {"q": 4}, "causal"),
        (am.causal(), {"q": 2, "k": 4, "align": "end"}, "causal_bottom_right"),
        (am.padding(lengths=[2, 3], of="both"), {"q": 4}, "padding"),
        (am.causal() & am.padding(lengths=[2, 3], of="both"), {"q": 4}, "padding_causal"),
        (am.documents(lengths=[2, 2]), {"q": 4}, "arbitrary"),
    ],
    ids=repr,
)
def test_transformer_engine_names_what_has_a_name(mask: am.Mask, lengths: dict[str, Any], kind: str) -> None:
    assert lower(am.compile(mask, **lengths), "transformer_engine")["attn_mask_type"] == kind


def test_cudnn_takes_lengths_of_queries_and_keys() -> None:
    options = lower(am.compile(am.causal() & am.padding(lengths=[2, 3], of="both"), q=4), "cudnn")
    lengths = options.pop("seq_len_q"), options.pop("seq_len_kv")
    assert [own.tolist() for own in lengths] == [[[[[2]]], [[[3]]]]] * 2
    assert options == {
        "diagonal_alignment": "TOP_LEFT",
        "diagonal_band_left_bound": None,
        "diagonal_band_right_bound": 0,
        "use_padding_mask": True,
    }


# MagiAttention


@pytest.mark.parametrize(
    ("mask", "slices"),
    [
        (am.full(), [[[0, 8], [0, 8], 0]]),
        (am.causal(), [[[0, 8], [0, 8], 1]]),
        (~am.causal(), [[[0, 7], [1, 8], 2]]),
        (am.window(left=0, right=0), [[[0, 8], [0, 8], 3]]),
        (am.causal() & am.documents(lengths=[3, 5]), [[[0, 3], [0, 3], 1], [[3, 8], [3, 8], 1]]),
        (am.chunked(4), [[[0, 4], [0, 4], 0], [[4, 8], [4, 8], 0]]),
        (am.causal() & am.sinks(2), [[[0, 2], [0, 2], 1], [[2, 8], [0, 2], 0]]),
    ],
    ids=repr,
)
def test_magi_slices_of_well_known_masks(mask: am.Mask, slices: list[list[Any]]) -> None:
    made = lists_of(lower(am.compile(mask, q=8), "magi"))
    assert [list(one) for one in zip(*made.values(), strict=True)] == slices


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 2), st.integers(0, 6), st.integers(0, 6))
def test_magi_slices_share_no_pair_and_are_no_more_than_runs(data: Any, items: int, q: int, k: int) -> None:
    plan = plan_from_dense(bools(data.draw, items, 1, q, k))
    slices = lower(plan, "magi")
    assert len(slices["attn_type_map"]) <= len(plan.runs.starts)
    # lift refuses slices that share a pair.
    assert lift("magi", slices, q=q, k=k, batch=plan.B) == plan


# torch.nn.TransformerEncoder


def influence(arguments: dict[str, Any], tokens: int, batch: int) -> torch.Tensor:
    """Whether the output of a token, in a layer without dropout, depends on another; bool (B, S, S)."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 4, 8, dropout=0.0, batch_first=True, dtype=torch.float64)
    encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    source = torch.randn(batch, tokens, 8, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: encoder(x, **arguments), source)
    return torch.stack([(jacobian[b, :, :, b] != 0).any(-1).any(1) for b in range(batch)])


def test_torch_encoder_lets_a_token_depend_on_what_it_attends_to() -> None:
    seen = 0
    for name, plan in PLANS.items():
        if plan.Q != plan.K or plan.Q == 0 or plan.empty_rows or plan.H > 1:
            continue
        arguments = lower(plan, "torch_encoder", num_heads=4, batch=2)
        expected = pairs_of(plan, 2, 1)[:, 0] | torch.eye(plan.Q, dtype=torch.bool)
        assert torch.equal(influence(arguments, plan.Q, 2), expected), name
        seen += 1
    assert seen > 40


def test_lengths_are_those_of_a_nested_tensor() -> None:
    nested = torch.nested.nested_tensor([torch.zeros(3, 2), torch.zeros(1, 2)], layout=torch.jagged)
    plan = am.compile(am.padding(lengths=[3, 1], of="both"), q=3)
    assert torch.equal(lower(plan, "torch_encoder", form="nested")["lengths"], nested.offsets().diff())
    assert lift("torch_encoder", {"lengths": nested.offsets().diff()}) == plan


def test_torch_encoder_splits_a_padded_decoder_into_its_two_masks() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[3, 2]), q=3)
    assert lists_of(lower(plan, "torch_encoder")) == {
        "mask": [[False, True, True], [False, False, True], [False, False, False]],
        "src_key_padding_mask": [[False, False, False], [False, False, True]],
        "is_causal": True,
    }


# lists


def test_lists_of_several_lengths_are_padded_on_the_side_that_is_named() -> None:
    texts = [[1, 1, 1], [1]]
    assert lift("lists", texts, side="right") == am.compile(am.padding(lengths=[3, 1]), q=3)
    assert lift("lists", texts, side="left") == am.compile(am.padding(lengths=[3, 1], side="left"), q=3)
    assert lift("lists", [[0.0, 0.0], [0.0, 1.0]], polarity="masked_out") == am.compile(am.padding(lengths=[2, 1]), q=2)
