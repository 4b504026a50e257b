"""One number, many meanings: every library whose windows, corners or values differ, and the tests that say so."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import attnmask as am
from attnmask.conventions import Align
from attnmask.formats import lift
from attnmask.formats.kernels import xformers_classes as bias
from attnmask.formats.shared import window_units as windows
from attnmask.formats.shared.window_units import HfPath, Window

FILES = [
    Path(__file__).with_name("test_format_traps.py"),
    Path(__file__).parents[2] / "conformance" / "test_library_traps.py",
]
W, LONG = 4, 41


class Trap(NamedTuple):
    """What one number means to one library.

    Attributes:
        keys: that a query in the middle keeps, itself included.
        window: the converter's reading of the number. tests: names of those that hold it against the library, or,
            where it does not run here, against the rule in its source.
    """

    keys: int
    window: Window
    tests: tuple[str, ...]


ONE_SIDE = "test_a_number_to_the_left_keeps_w_plus_1_keys"
TRAPS = {
    "transformers, causal sliding_window": Trap(
        W, windows.window_from_hf(W, is_causal=True), ("test_hf_causal_sliding_window_keeps_w_keys",)
    ),
    "transformers, sliding_window of an encoder by a mask": Trap(
        2 * W + 1,
        windows.window_from_hf(W, is_causal=False),
        (
            "test_hf_bidirectional_sliding_window_keeps_2w_plus_1_keys_by_a_mask",
            "test_a_decoder_without_causality_keeps_w_keys_on_each_side",
        ),
    ),
    "transformers, sliding_window of an encoder in flash attention": Trap(
        2 * W - 1,
        windows.window_from_hf(W, is_causal=False, path=HfPath.FLASH),
        (
            "test_hf_bidirectional_sliding_window_keeps_2w_minus_1_keys_in_flash_attention",
            "test_one_sliding_window_of_an_encoder_is_two_sets_so_the_path_is_asked_for",
            "test_modernbert_adds_one_so_that_flash_attention_keeps_as_many_keys_as_a_mask",
            "test_gemma_3_without_causality_changes_the_number_in_its_config",
        ),
    ),
    "Keras, causal": Trap(
        W,
        windows.window_from_keras(W, use_causal_mask=True),
        (
            "test_keras_sliding_window_keeps_w_causal_and_2w_minus_1_without",
            "test_sliding_window_of_keras_counts_the_query_itself",
        ),
    ),
    "Keras": Trap(
        2 * W - 1,
        windows.window_from_keras(W, use_causal_mask=False),
        (
            "test_keras_sliding_window_keeps_w_causal_and_2w_minus_1_without",
            "test_sliding_window_of_keras_counts_the_query_itself",
        ),
    ),
    "xformers, _window_size": Trap(
        W,
        windows.window_from_xformers_causal(W),
        ("test_xformers_causal_window_size_keeps_w_keys", "test_xformers_itself_keeps_w_keys_in_a_causal_window"),
    ),
    "xformers, window_left and window_right": Trap(
        W + 1 + 2,
        (W, 2),
        (
            "test_xformers_local_window_keeps_left_1_right_keys_from_the_bottom_right",
            "test_biases_of_xformers_are_read_as_it_materializes_them",
        ),
    ),
    "flash-attn, window_size": Trap(
        W + 1, windows.window_from_flash((W, 0)), ("test_flash_attn_window_keeps_w_plus_1_keys_at_the_bottom_right",)
    ),
    "torch varlen_attn, window_size": Trap(
        W + 1,
        windows.window_from_flash((W, 0)),
        ("test_torch_varlen_window_of_w_keeps_w_plus_1_keys_though_its_docstring_says_size_w",),
    ),
    "TransformerEngine, window_size": Trap(
        W + 1,
        windows.window_from_flash((W, 0)),
        ("test_transformer_engine_window_keeps_w_plus_1_keys_and_true_is_masked_out",),
    ),
    "flashinfer, window_left": Trap(W + 1, windows.window_from_one_side(W), (ONE_SIDE,)),
    "attention-gym, generate_sliding_window": Trap(
        W + 1, windows.window_from_one_side(W), (ONE_SIDE, "test_attention_gym_itself_keeps_w_plus_1_keys")
    ),
    "FlashMask, window_size": Trap(W + 1, windows.window_from_one_side(W), (ONE_SIDE,)),
    "x-transformers, max_attend_past": Trap(
        W + 1, windows.window_from_one_side(W), (ONE_SIDE, "test_x_transformers_itself_keeps_w_plus_1_keys")
    ),
    "JAX splash, LocalMask": Trap(
        W + 1,
        windows.window_from_splash((W, 0)),
        ("test_splash_local_mask_keeps_w_plus_1_keys", "test_local_mask_of_splash_itself_keeps_w_plus_1_keys"),
    ),
    "cuDNN, diagonal_band_left_bound": Trap(
        W, windows.window_from_cudnn(W, 0), ("test_cudnn_left_bound_keeps_w_keys",)
    ),
    "ONNX, left_window_size and right_window_size": Trap(
        W + 1 + 2, (W, 2), ("test_windows_of_onnx_do_not_count_the_query_itself",)
    ),
    "JAX, local_window_size": Trap(2 * W + 1, (W, W), ("test_jax_lines_up_the_first_query_and_key",)),
}
# What is no window: which corner, what True says, which values, which rows.
OTHERS = (
    "test_sdpa_is_causal_is_top_left_and_causal_lower_right_is_not",
    "test_magi_causal_is_bottom_right_and_inverse_causal_top_left",
    "test_causal_of_flashmask_with_other_lengths_is_ambiguous",
    "test_onnx_counts_from_the_last_valid_key_since_its_errata",
    "test_x_transformers_lines_up_the_last_query_and_key",
    "test_minus_one_is_no_bound_in_flash_attn_and_flashinfer",
    "test_true_attends_in_sdpa_and_is_masked_out_in_multihead_attention",
    "test_zeros_and_ones_as_floats_mask_nothing_in_sdpa",
    "test_an_additive_2d_mask_is_inverted_by_transformers_and_refused_here",
    "test_half_a_weight_is_a_whole_token_in_transformers_and_refused_here",
    "test_bools_on_four_axes_are_right_in_sdpa_and_wrong_in_eager",
    "test_position_ids_separate_documents_only_without_an_attention_mask",
    "test_position_ids_separate_documents_only_without_a_cache",
    "test_rows_without_a_key_differ_by_library",
    "test_flashmask_names_the_rows_that_are_masked_out_not_those_that_attend",
    "test_transformer_engine_padding_hides_queries_too",
)
SEQUENCES = bias.lengths_info(np.array([0, 2]), "cpu"), bias.lengths_info(np.array([0, 5]), "cpu")
VARLEN = {"cu_seqlens_q": [0, 2], "cu_seqlens_k": [0, 5], "max_seqlen_q": 2, "max_seqlen_k": 5, "causal": True}
TORCH_VARLEN = {"cu_seq_q": [0, 2], "cu_seq_k": [0, 5], "max_q": 2, "max_k": 5, "window_size": (-1, 0)}
FLASHINFER = {"qo_indptr": [0, 2], "kv_indptr": [0, 5], "causal": True}
SLICE = {"q_ranges": [[0, 2]], "k_ranges": [[0, 5]]}


def causal_of(format: str, form: Any) -> am.Plan:
    """What a causal mask of 2 queries and 5 keys is to a library."""
    takes_lengths = format not in ("flash_varlen", "flashinfer")
    return lift(format, form, **({"q": 2, "k": 5} if takes_lengths else {}))


CORNERS: dict[str, tuple[str, Any]] = {
    "torch sdpa is_causal": ("sdpa", {"is_causal": True}),
    "torch varlen_attn": ("flash_varlen", TORCH_VARLEN),
    "flash-attn": ("flash_varlen", VARLEN),
    "xformers LowerTriangularMask": ("xformers", bias.LowerTriangularMask()),
    "xformers LowerTriangularFromBottomRightMask": ("xformers", bias.LowerTriangularFromBottomRightMask()),
    "xformers BlockDiagonalCausalMask": ("xformers", bias.BlockDiagonalCausalMask(*SEQUENCES)),
    "xformers BlockDiagonalCausalFromBottomRightMask": (
        "xformers",
        bias.BlockDiagonalCausalFromBottomRightMask(*SEQUENCES),
    ),
    "flashinfer": ("flashinfer", FLASHINFER),
    "TransformerEngine causal": ("transformer_engine", {"attn_mask_type": "causal"}),
    "TransformerEngine causal_bottom_right": ("transformer_engine", {"attn_mask_type": "causal_bottom_right"}),
    "cuDNN TOP_LEFT": ("cudnn", {"diagonal_band_right_bound": 0}),
    "cuDNN BOTTOM_RIGHT": ("cudnn", {"diagonal_alignment": "BOTTOM_RIGHT", "diagonal_band_right_bound": 0}),
    "Keras": ("keras", {"use_causal_mask": True}),
    "transformers": ("hf_sliding_window", {"is_causal": True}),
    "MagiAttention CAUSAL": ("magi", {**SLICE, "attn_type_map": [1]}),
}
# No causal mask of a format: read elsewhere, or of a version that lift does not read.
ELSEWHERE = {
    "torch causal_upper_left": "test_sdpa_is_causal_is_top_left_and_causal_lower_right_is_not",
    "torch causal_lower_right": "test_sdpa_is_causal_is_top_left_and_causal_lower_right_is_not",
    "flash-attn 2.0": "test_the_corner_of_each_library_is_named_once",
    "MagiAttention INVCAUSAL": "test_magi_causal_is_bottom_right_and_inverse_causal_top_left",
}


def names_of_tests(path: Path) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def keys_of(window: Window) -> int:
    """The keys that the middle query of a long sequence keeps."""
    return int(am.compile(am.window(*window), q=LONG).to("dense")[0, 0, LONG // 2].sum())


@pytest.mark.parametrize("api", TRAPS)
def test_one_number_keeps_as_many_keys_as_the_library_says(api: str) -> None:
    assert keys_of(TRAPS[api].window) == TRAPS[api].keys


def test_every_trap_has_a_test_by_name() -> None:
    named = {name for trap in TRAPS.values() for name in trap.tests} | set(OTHERS) | set(ELSEWHERE.values())
    assert named <= set.union(*map(names_of_tests, FILES))
    assert all(trap.tests for trap in TRAPS.values())


def test_every_converter_is_in_the_table() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    public = [name for name, one in vars(windows).items() if isinstance(one, Callable) and name.startswith("window_")]
    assert len(public) >= 7
    assert [name for name in public if f"windows.{name}(" not in source] == []


def test_every_corner_is_in_the_table() -> None:
    assert sorted([*CORNERS, *ELSEWHERE]) == sorted(windows.ALIGNMENTS)


@pytest.mark.parametrize("name", CORNERS)
def test_a_causal_mask_is_read_at_the_corner_that_is_named(name: str) -> None:
    expected = am.compile(am.causal(), q=2, k=5, align=str(windows.ALIGNMENTS[name]))
    assert causal_of(*CORNERS[name]) == expected
    assert expected != am.compile(am.causal(), q=2, k=5, align=str(_other(windows.ALIGNMENTS[name])))


def _other(align: Align) -> Align:
    return Align.END if align is Align.START else Align.START
