"""Where libraries mean different things by one number, one corner or one value: each is a test, by name.

What runs here is asked itself; of what does not, the rule in its source is written out pair by pair.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.attention import bias as torch_bias
from torch.nn.functional import scaled_dot_product_attention
from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, ModernBertConfig, ModernBertModel
from transformers import masking_utils as hf

import attnmask as am
from attnmask.conventions import Align, offset_from_align
from attnmask.errors import AmbiguousError
from attnmask.formats import lift, lower
from attnmask.formats.shared import window_units as windows

W, LENGTH = 3, 10
ROW, KEY = np.arange(LENGTH)[:, None], np.arange(LENGTH)
CAUSAL = KEY <= ROW


def grid(window: windows.Window, q: int = LENGTH, k: int = LENGTH, align: str = "end") -> NDArray[np.bool_]:
    """Every pair of a window."""
    return am.compile(am.window(*window), q=q, k=k, align=align).runs.to_dense()[0, 0]


def kept(window: windows.Window) -> int:
    """The keys that the middle query of a long sequence keeps, self included."""
    return int(grid(window, 101, 101)[50].sum())


def hf_mask(function: object, length: int = LENGTH) -> NDArray[np.bool_]:
    """What transformers makes of one of its mask functions."""
    mask = hf.sdpa_mask(
        batch_size=1, q_length=length, kv_length=length, mask_function=function, allow_is_causal_skip=False
    )
    return mask[0, 0].numpy()


def test_hf_causal_sliding_window_keeps_w_keys() -> None:
    window = windows.window_from_hf(W, is_causal=True)
    np.testing.assert_array_equal(grid(window), hf_mask(hf.sliding_window_causal_mask_function(W)))
    assert kept(window) == W
    assert windows.hf_from_window(window, is_causal=True) == W


def test_hf_bidirectional_sliding_window_keeps_2w_plus_1_keys_by_a_mask() -> None:
    window = windows.window_from_hf(W, is_causal=False)
    np.testing.assert_array_equal(grid(window), hf_mask(hf.sliding_window_bidirectional_mask_function(W)))
    assert kept(window) == 2 * W + 1
    assert windows.hf_from_window(window, is_causal=False) == W


def test_hf_bidirectional_sliding_window_keeps_2w_minus_1_keys_in_flash_attention() -> None:
    from transformers.modeling_flash_attention_utils import _process_flash_attention_kwargs

    given = _process_flash_attention_kwargs(
        query_length=LENGTH,
        key_length=LENGTH,
        is_causal=False,
        sliding_window=W,
        supports_mapping=defaultdict(bool, window_size=True),
    )
    window = windows.window_from_hf(W, is_causal=False, path=windows.HfPath.FLASH)
    assert windows.window_from_flash(given["window_size"]) == window
    assert kept(window) == 2 * W - 1
    assert windows.hf_from_window(window, is_causal=False, path=windows.HfPath.FLASH) == W


def test_one_sliding_window_of_an_encoder_is_two_sets_so_the_path_is_asked_for() -> None:
    config = {"is_causal": False, "sliding_window": W}
    by_mask, by_flash = (lift("hf_sliding_window", config, q=9, k=9, path=path) for path in ("mask", "flash"))
    assert by_mask.pairs > by_flash.pairs
    with pytest.raises(AmbiguousError, match="one fewer in flash attention"):
        lift("hf_sliding_window", config, q=9, k=9)


def test_a_decoder_without_causality_keeps_w_keys_on_each_side() -> None:
    config = MistralConfig(
        hidden_size=4, num_attention_heads=1, num_hidden_layers=1, sliding_window=W, attn_implementation="sdpa"
    )
    config.is_causal = False
    made = hf.create_sliding_window_causal_mask(
        config=config, inputs_embeds=torch.zeros(1, LENGTH, 4), attention_mask=None, past_key_values=None
    )
    plan = lift("hf_sliding_window", {"is_causal": False, "sliding_window": W}, q=LENGTH, k=LENGTH, path="mask")
    assert lift("hf_4d", made) == plan
    assert lower(plan, "hf_sliding_window", path="mask") == {"is_causal": False, "sliding_window": W}


def test_modernbert_adds_one_so_that_flash_attention_keeps_as_many_keys_as_a_mask() -> None:
    config = ModernBertConfig(
        hidden_size=8, num_attention_heads=1, num_hidden_layers=2, local_attention=2 * W, global_attn_every_n_layers=2
    )
    layer = ModernBertModel(config).layers[1].attn
    by_mask = windows.window_from_hf(config.sliding_window, is_causal=False)
    by_flash = windows.window_from_hf(layer.sliding_window, is_causal=False, path=windows.HfPath.FLASH)
    assert by_mask == by_flash == (W, W)


def test_gemma_3_without_causality_changes_the_number_in_its_config() -> None:
    from transformers.models.gemma3.modeling_gemma3 import _bidirectional_window_overlay

    config = Gemma3TextConfig(sliding_window=2 * W, use_bidirectional_attention=True)
    assert config.sliding_window == W + 1
    window = windows.window_from_hf(config.sliding_window, is_causal=False, path=windows.HfPath.FLASH)
    np.testing.assert_array_equal(grid(window), _bidirectional_window_overlay(config.sliding_window)(0, 0, ROW, KEY))


def test_keras_sliding_window_keeps_w_causal_and_2w_minus_1_without() -> None:
    # keras.layers.MultiHeadAttention: |q - k| < sliding_window, and causal beside it.
    for causal, number in ((True, W), (False, 2 * W - 1)):
        window = windows.window_from_keras(W, use_causal_mask=causal)
        np.testing.assert_array_equal(grid(window), (abs(ROW - KEY) < W) & (CAUSAL if causal else True))
        assert kept(window) == number
        assert windows.keras_from_window(window, use_causal_mask=causal) == W


def test_xformers_causal_window_size_keeps_w_keys() -> None:
    # _materialize_causal_mask: tril, then triu from shift - window_size + 1.
    window = windows.window_from_xformers_causal(W)
    expected = np.triu(np.tri(LENGTH), 1 - W) == 1
    np.testing.assert_array_equal(grid(window), expected)
    assert kept(window) == windows.xformers_causal_from_window(window) == W
    plan = am.compile(am.causal() & am.window(W - 1, 0), q=2, k=8, align="end")
    assert lower(plan, "xformers")._window_size == W


def test_xformers_local_window_keeps_left_1_right_keys_from_the_bottom_right() -> None:
    # The two grids in the docstring of LocalAttentionFromBottomRightMask(window_left=1, window_right=2).
    square = ["1110", "1111", "0111", "0011"]
    wide = ["11110", "01111", "00111", "00011"]
    from attnmask.formats.kernels.xformers_classes import LocalAttentionFromBottomRightMask

    for rows in (square, wide):
        expected = np.array([[int(bit) for bit in row] for row in rows], dtype=bool)
        plan = lift("xformers", LocalAttentionFromBottomRightMask(1, 2), q=4, k=len(rows[0]))
        np.testing.assert_array_equal(plan.runs.to_dense()[0, 0], expected)
    assert kept(windows.window_from_flash((W, W))) == W + 1 + W


@pytest.mark.parametrize("corner", [0, 4])
def test_flash_attn_window_keeps_w_plus_1_keys_at_the_bottom_right(corner: int) -> None:
    # flash_attn_func: row i sees the keys from i + K - Q - left to i + K - Q + right.
    q, k = LENGTH - corner, LENGTH
    position = np.arange(q)[:, None] + k - q
    expected = (position - W <= np.arange(k)) & (np.arange(k) <= position)
    window = windows.window_from_flash((W, 0))
    np.testing.assert_array_equal(grid(window, q, k), expected)
    assert kept(window) == W + 1
    assert windows.flash_from_window(window) == (W, 0)
    arguments = lower(am.compile(am.window(W, 0), q=q, k=k, align="end"), "flash_varlen").arguments
    assert (arguments["window_size"], arguments["causal"]) == ((W, 0), True)


def test_torch_varlen_window_of_w_keeps_w_plus_1_keys_though_its_docstring_says_size_w() -> None:
    arguments = lower(am.compile(am.window(W, 0), q=LENGTH), "flash_varlen", library="torch").arguments
    assert arguments["window_size"] == (W, 0)
    assert lift("flash_varlen", arguments).pairs == grid((W, 0)).sum()


def test_minus_one_is_no_bound_in_flash_attn_and_flashinfer() -> None:
    assert windows.window_from_flash((-1, 0)) == (None, 0)
    assert windows.flash_from_window((None, None)) == (-1, -1)
    assert windows.window_from_one_side(-1) == (None, 0)
    assert windows.one_side_from_window((None, 0)) == -1


@pytest.mark.parametrize("library", ["flashinfer", "attention-gym", "FlashMask", "x-transformers"])
def test_a_number_to_the_left_keeps_w_plus_1_keys(library: str) -> None:
    rules = {
        "flashinfer": KEY + LENGTH + W >= LENGTH + ROW,
        "attention-gym": ROW - KEY <= W,
        "FlashMask": ROW <= KEY + W,
        "x-transformers": ~(ROW - KEY > W),
    }
    window = windows.window_from_one_side(W)
    np.testing.assert_array_equal(grid(window), rules[library] & CAUSAL)
    assert kept(window) == W + 1
    assert windows.one_side_from_window(window) == W


def test_splash_local_mask_keeps_w_plus_1_keys() -> None:
    window = windows.window_from_splash((W, 0))
    np.testing.assert_array_equal(grid(window), (ROW - W <= KEY) & (KEY <= ROW))
    assert windows.window_from_splash((None, 0)) == (None, 0)


def test_transformer_engine_window_keeps_w_plus_1_keys_and_true_is_masked_out() -> None:
    arguments = lower(am.compile(am.window(W, 0), q=LENGTH), "transformer_engine")
    assert (arguments["attn_mask_type"], arguments["window_size"]) == ("causal", (W, 0))
    hidden = lower(am.compile(am.dilated(2), q=3), "transformer_engine")["attention_mask"]
    assert hidden[0, 0].tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_cudnn_left_bound_keeps_w_keys() -> None:
    # cudnn-frontend's kernel: col + left_bound > diag, col <= diag + right_bound.
    window = windows.window_from_cudnn(W, 0)
    np.testing.assert_array_equal(grid(window), (KEY + W > ROW) & (KEY <= ROW))
    assert kept(window) == W
    assert windows.cudnn_from_window(window) == (W, 0)
    # TransformerEngine's window_size of the same set is one less, so it adds one on the way to cuDNN.
    plan = am.compile(am.window(W - 1, 0), q=LENGTH)
    assert lower(plan, "cudnn")["diagonal_band_left_bound"] == lower(plan, "transformer_engine")["window_size"][0] + 1


def test_magi_causal_is_bottom_right_and_inverse_causal_top_left() -> None:
    # The grids in the docstring of flex_flash_attn_func.
    grids = {
        (1, 2, 5): ["11110", "11111"],
        (2, 2, 5): ["11111", "01111"],
        (3, 2, 5): ["11110", "01111"],
        (1, 5, 2): ["00", "00", "00", "10", "11"],
        (2, 5, 2): ["11", "01", "00", "00", "00"],
        (3, 5, 2): ["00", "00", "00", "00", "00"],
        (0, 5, 2): ["11"] * 5,
    }
    for (kind, q, k), rows in grids.items():
        slices = {"q_ranges": [[0, q]], "k_ranges": [[0, k]], "attn_type_map": [kind]}
        expected = np.array([[int(bit) for bit in row] for row in rows], dtype=bool)
        np.testing.assert_array_equal(lift("magi", slices, q=q, k=k).runs.to_dense()[0, 0], expected)


def attended(q: int, k: int, **arguments: object) -> NDArray[np.bool_]:
    """What torch's attention attends to, read off the output for values that are a basis."""
    values = torch.eye(k, dtype=torch.float64)[None, None]
    out = scaled_dot_product_attention(torch.zeros(1, 1, q, k, dtype=torch.float64), values * 0, values, **arguments)
    return (out[0, 0] > 0).numpy()


@pytest.mark.parametrize(("q", "k"), [(3, 6), (6, 3), (4, 4)])
def test_sdpa_is_causal_is_top_left_and_causal_lower_right_is_not(q: int, k: int) -> None:
    top_left = am.compile(am.causal(), q=q, k=k, align="start")
    np.testing.assert_array_equal(attended(q, k, is_causal=True), top_left.runs.to_dense()[0, 0])
    assert lower(top_left, "sdpa") == {"attn_mask": None, "is_causal": True}
    if q < k:
        bottom_right = am.compile(am.causal(), q=q, k=k, align="end")
        mask = torch_bias.causal_lower_right(q, k)._materialize("cpu")
        np.testing.assert_array_equal(mask.numpy(), bottom_right.runs.to_dense()[0, 0])
        assert lower(bottom_right, "sdpa")["is_causal"] is False
        assert lower(bottom_right, "flash_varlen").arguments["causal"] is True


def test_the_corner_of_each_library_is_named_once() -> None:
    assert windows.ALIGNMENTS["torch sdpa is_causal"] is Align.START
    assert windows.ALIGNMENTS["flash-attn"] is Align.END
    assert windows.ALIGNMENTS["flash-attn 2.0"] is Align.START
    assert offset_from_align(windows.ALIGNMENTS["flash-attn"], 2, 5) == 3


def test_true_attends_in_sdpa_and_is_masked_out_in_multihead_attention() -> None:
    plan = am.compile(am.causal() & am.padding(lengths=[3]), q=3, k=4, align="start")
    keep, drop = lower(plan, "dense_torch")[0, 0], lower(plan, "mha")["attn_mask"]
    assert torch.equal(keep, ~drop)
    np.testing.assert_array_equal(attended(3, 4, attn_mask=keep), plan.runs.to_dense()[0, 0])


def test_zeros_and_ones_as_floats_mask_nothing_in_sdpa() -> None:
    causal = np.tri(3)
    assert attended(3, 3, attn_mask=torch.from_numpy(causal)).all()
    with pytest.raises(AmbiguousError):
        lift("sdpa", {"attn_mask": causal})


def test_an_additive_2d_mask_is_inverted_by_transformers_and_refused_here() -> None:
    additive = torch.tensor([[0.0, 0.0, -1e4]])
    taken_for_tokens = additive.to(torch.bool)
    assert taken_for_tokens.tolist() == [[False, False, True]]
    with pytest.raises(am.AttnMaskError, match=r"neither 1 .* nor 0"):
        lift("hf_2d", additive)


def test_half_a_weight_is_a_whole_token_in_transformers_and_refused_here() -> None:
    assert torch.tensor([0.5]).to(torch.bool).item() is True
    with pytest.raises(am.AttnMaskError, match="weights"):
        lift("hf_2d", torch.tensor([[1.0, 0.5]]))


def packed_mask(positions: list[int], attention_mask: torch.Tensor | None) -> NDArray[np.bool_] | None:
    """The mask that a decoder of transformers makes for packed position ids."""
    config = LlamaConfig(hidden_size=4, num_attention_heads=1, num_hidden_layers=1, attn_implementation="eager")
    made = hf.create_causal_mask(
        config=config,
        inputs_embeds=torch.zeros(1, len(positions), 4),
        attention_mask=attention_mask,
        past_key_values=None,
        position_ids=torch.tensor([positions]),
    )
    return None if made is None else (made[0, 0] == 0).numpy()


def test_position_ids_separate_documents_only_without_an_attention_mask() -> None:
    plan = am.compile(am.causal() & am.documents(lengths=[2, 3]), q=5)
    positions = lower(plan, "hf_position_ids")["position_ids"][0].tolist()
    np.testing.assert_array_equal(packed_mask(positions, None), plan.runs.to_dense()[0, 0])
    leaking = packed_mask(positions, torch.ones(1, 5, dtype=torch.long))
    np.testing.assert_array_equal(leaking, np.tri(5, dtype=bool))


def test_position_ids_that_jump_are_documents_to_sdpa_and_none_to_flash_attention() -> None:
    from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

    positions = torch.tensor([[0, 1, 7, 8]])
    assert hf.find_packed_sequence_indices(positions).tolist() == [[0, 0, 1, 1]]
    (bounds, _), _ = prepare_fa_kwargs_from_position_ids(positions)
    assert bounds.tolist() == [0, 4]
    with pytest.raises(AmbiguousError, match="position_ids\\[0, 2\\] is 7"):
        lift("hf_position_ids", positions)


def test_documents_that_begin_at_2_are_read_as_transformers_reads_them() -> None:
    from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

    plan = am.compile(am.causal() & am.documents(lengths=[2, 3]), q=5)
    lowered = lower(plan, "hf_position_ids", start=2)
    assert lowered["position_ids"].tolist() == [[2, 3, 2, 3, 4]]
    (bounds, _), (longest, _) = prepare_fa_kwargs_from_position_ids(lowered["position_ids"])
    assert torch.equal(bounds, lowered["cu_seq_lens_q"])
    assert int(longest) == lowered["max_length_q"]


def test_rows_without_a_key_differ_by_library() -> None:
    empty_row = torch.tensor([[True, False], [False, False]])
    assert not attended(2, 2, attn_mask=empty_row)[1].any(), "0 in sdpa with bools"
    least = lower(lift("dense_torch", empty_row), "additive", dtype="float64", masked="min")
    assert attended(2, 2, attn_mask=least)[1].all(), "the mean of all values with the least number"
    plan = lift("dense_torch", empty_row)
    for format, reason in [("mha", "answers NaN"), ("xformers", "undefined"), ("torch_encoder", "answers NaN")]:
        assert any(reason in one for one in plan.formats()[format])


def test_flashmask_names_the_rows_that_are_masked_out_not_those_that_attend() -> None:
    # Bounds of the reference conversion: rows from start on are masked, and causal ones before the key's own.
    causal = am.compile(am.causal(), q=3)
    assert lower(causal, "flashmask")["startend_row_indices"].reshape(-1).tolist() == [3, 3, 3]
    assert lift("flashmask", {"startend_row_indices": [[[[0], [0], [0]]]], "causal": True}).pairs == 0


def test_causal_of_flashmask_with_other_lengths_is_ambiguous() -> None:
    with pytest.raises(AmbiguousError, match="at the start, its kernels at the end"):
        lift("flashmask", {"startend_row_indices": [[[[2], [2]]]], "causal": True}, q=3)


def test_bits_of_flashinfer_are_little_endian_and_each_request_begins_at_a_byte() -> None:
    # The segments of the example of flashinfer.segment_packbits, in the order of bits that its kernels read.
    segments = [[1, 0, 1], [1, 0, 0]]
    plan = am.compile(am.dense(np.array(segments, dtype=bool)[:, None, None]), q=1, k=3, align="start")
    assert lower(plan, "flashinfer")["packed_custom_mask"].tolist() == [0b101, 0b001]


def test_transformer_engine_padding_hides_queries_too() -> None:
    keys_only = am.compile(am.padding(lengths=[3, 1]), q=3)
    both = am.compile(am.padding(lengths=[3, 1], of="both"), q=3)
    assert isinstance(lower(keys_only, "transformer_engine")["attention_mask"], tuple)
    assert lower(both, "transformer_engine")["attention_mask"].tolist() == [[[[False] * 3]], [[[False, True, True]]]]


def test_a_wrong_window_is_seen() -> None:
    # The comparisons themselves must be able to fail: one key more, one corner further.
    assert not np.array_equal(grid((W, 0)), hf_mask(hf.sliding_window_causal_mask_function(W)))
    assert not np.array_equal(grid((W, 0), 3, 6, "start"), grid((W, 0), 3, 6, "end"))


def test_sequences_of_xformers_end_where_their_item_does() -> None:
    plan = am.compile(am.global_tokens([[0], [0], [1]]), q=1, k=8, offset=-1)
    reasons = plan.formats()["xformers"]
    assert reasons or am.lift("xformers", plan.to("xformers"), q=1, k=8, batch=3) == plan
