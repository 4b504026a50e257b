"""What the formats say of what they cannot hold or cannot read, word for word."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

import attnmask as am
from attnmask.compiler.runs import Runs
from attnmask.errors import CannotExpressError
from attnmask.formats import lift, lower
from attnmask.formats.frameworks import tokamax
from attnmask.formats.shared import window_units as windows

Segments = namedtuple("Segments", ["q", "kv"])
EYE = np.eye(3)
CAUSAL = am.compile(am.causal(), q=4)
HEADS = am.compile(am.dense(np.array([[np.eye(3), np.ones((3, 3))]], dtype=bool)), q=3)
BOTH = am.compile(am.causal() & am.padding(lengths=[3, 1], side="left"), q=3)
PADDED = am.compile(am.padding(lengths=[3, 1]), q=3)
SPOILT = np.where(np.tri(3, dtype=bool), 0.0, -1e4)
SPOILT[1, 2] = -3.5
PER_HEAD = am.per_head([am.causal(), am.dilated(2)])
VARLEN = {"cu_seqlens_q": [0, 2, 5], "cu_seqlens_k": [0, 2, 5], "max_seqlen_q": 3, "max_seqlen_k": 3, "causal": True}

CASES: dict[str, Callable[[], object]] = {
    "unknown format": lambda: lower(CAUSAL, "flash"),
    "unknown format to lift": lambda: lift("flash", EYE),
    "unknown option": lambda: lower(CAUSAL, "additive", mask=-1e4),
    "format without options": lambda: lower(CAUSAL, "dense", device="cpu"),
    "unknown hint": lambda: lift("sdpa", {}, queries=3),
    "a mask, not a plan": lambda: lower(am.causal(), "dense"),
    "hf_2d, heads and rows": lambda: lower(HEADS, "hf_2d"),
    "hf_2d, a decoder's mask": lambda: lower(CAUSAL, "hf_2d"),
    "hf_2d, no row": lambda: lower(CAUSAL[2:2], "hf_2d"),
    "hf_2d, more queries than keys": lambda: lower(
        am.compile(am.causal(), q=3, k=2, align="start"), "hf_2d", causal=True
    ),
    "hf_2d, not causal": lambda: lower(PADDED, "hf_2d", causal=True),
    "hf_2d, window": lambda: lower(am.compile(am.causal() & am.window(left=1, right=0), q=4), "hf_2d", causal=True),
    "hf_2d, another batch": lambda: lower(PADDED, "hf_2d", batch=3),
    "mha, rows without a key and no heads": lambda: lower(BOTH, "mha"),
    "mha, other heads": lambda: lower(
        am.compile(am.window(0, 0) | am.dense(np.array([[np.eye(3), np.ones((3, 3))]], dtype=bool)), q=3),
        "mha",
        num_heads=4,
    ),
    "mha, no batch": lambda: lower(CAUSAL, "mha", batch=0),
    "integers, dtype": lambda: lower(CAUSAL, "integers", dtype="float32"),
    "additive, dtype": lambda: lower(CAUSAL, "additive", dtype="int8"),
    "additive, constant too small": lambda: lower(CAUSAL, "additive", masked=-1),
    "additive, constant unknown": lambda: lower(CAUSAL, "additive", masked="inf"),
    "dense of integers": lambda: lift("dense", [[1, 0]]),
    "dense of three axes": lambda: lift("dense", np.ones((2, 3, 3), dtype=bool)),
    "dense of one axis": lambda: lift("dense", np.ones(3, dtype=bool)),
    "dense of no item": lambda: lift("dense_torch", torch.ones(0, 1, 2, 2, dtype=torch.bool)),
    "dense of text": lambda: lift("dense", [["a"]]),
    "ragged": lambda: lift("integers", [[1, 0], [1]]),
    "integers of other values": lambda: lift("integers", [[1, 0], [2, 1]]),
    "floats without a polarity": lambda: lift("integers", np.tri(3)),
    "floats with an empty diagonal": lambda: lift("integers", 1 - np.tri(4)),
    "floats with a mixed diagonal": lambda: lift("integers", np.diag([1.0, 0, 1])),
    "floats that are not square": lambda: lift("integers", np.ones((1, 1, 2, 3))),
    "floats that are all zero": lambda: lift("integers", np.zeros((3, 3))),
    "unknown polarity": lambda: lift("integers", EYE, polarity="keep"),
    "additive of 0 and 1": lambda: lift("additive", EYE),
    "additive of 0 and 1, one axis": lambda: lift("additive", [0.0, 1.0]),
    "additive of integers": lambda: lift("additive", EYE.astype(int)),
    "additive with a bias": lambda: lift("additive", SPOILT),
    "additive with a bonus": lambda: lift("additive", torch.tensor([[0.0, 2.0]])),
    "additive with NaN": lambda: lift("additive", np.full((1, 1, 2, 2), np.nan)),
    "additive of three axes": lambda: lift("additive", np.zeros((2, 3, 3))),
    "hf_2d of floats": lambda: lift("hf_2d", torch.zeros(2, 3)),
    "hf_2d of an additive mask": lambda: lift("hf_2d", torch.tensor([[0.0, -1e4]])),
    "hf_2d of weights": lambda: lift("hf_2d", torch.tensor([[1.0, 0.5]])),
    "hf_2d of four axes": lambda: lift("hf_2d", torch.ones(2, 1, 3, 3)),
    "hf_2d of more queries than keys": lambda: lift("hf_2d", [[1, 1]], causal=True, q=3),
    "hf_4d of two axes": lambda: lift("hf_4d", torch.ones(2, 3, dtype=torch.long)),
    "hf_4d of integers": lambda: lift("hf_4d", torch.ones(1, 1, 3, 3, dtype=torch.long)),
    "hf_4d of 0.0 and 1.0": lambda: lift("hf_4d", torch.ones(1, 1, 3, 3).tril()),
    "sdpa without lengths": lambda: lift("sdpa", {"attn_mask": None, "is_causal": True}, q=3),
    "sdpa of both": lambda: lift("sdpa", {"attn_mask": EYE == 1, "is_causal": True}),
    "sdpa of integers": lambda: lift("sdpa", {"attn_mask": EYE.astype(int)}),
    "sdpa of 0.0 and 1.0": lambda: lift("sdpa", {"attn_mask": EYE}),
    "sdpa of a tensor": lambda: lift("sdpa", torch.ones(3, 3, dtype=torch.bool)),
    "sdpa of more arguments": lambda: lift("sdpa", {"attn_mask": EYE == 1, "dropout_p": 0.1}),
    "sdpa of other lengths": lambda: lift("sdpa", {"attn_mask": EYE == 1}, q=4, k=3),
    "mha without lengths": lambda: lift("mha", {}),
    "mha of three axes": lambda: lift("mha", {"attn_mask": np.ones((4, 3, 3), dtype=bool)}),
    "mha of other heads": lambda: lift("mha", {"attn_mask": np.ones((4, 3, 3), dtype=bool)}, num_heads=3),
    "mha of four axes": lambda: lift("mha", {"attn_mask": np.ones((1, 1, 3, 3), dtype=bool)}),
    "mha of keys of one axis": lambda: lift("mha", {"key_padding_mask": np.ones(3, dtype=bool)}),
    "mha of integers": lambda: lift("mha", {"key_padding_mask": [[0, 1]]}),
    "mha of items that differ": lambda: lift(
        "mha",
        {"attn_mask": np.ones((4, 3, 3), dtype=bool), "key_padding_mask": np.ones((3, 3), dtype=bool)},
        num_heads=2,
    ),
    "mha of masks that differ": lambda: lift(
        "mha", {"attn_mask": EYE == 1, "key_padding_mask": np.ones((2, 4), dtype=bool)}
    ),
    "hf_2d of floats with a polarity that is none": lambda: lift("hf_2d", torch.ones(2, 3), polarity="keep"),
    "flash_varlen, heads and a hole": lambda: lower(am.compile(PER_HEAD, q=4), "flash_varlen"),
    "flash_varlen, a hole": lambda: lower(am.compile(am.dilated(2), q=4), "flash_varlen"),
    "flash_varlen, padding that is not masked out": lambda: lower(
        am.compile(am.causal() & am.padding(lengths=[4, 2]), q=4), "flash_varlen"
    ),
    "flash_varlen, library": lambda: lower(CAUSAL, "flash_varlen", library="flash"),
    "flash_varlen of falling bounds": lambda: lift("flash_varlen", {**VARLEN, "cu_seqlens_q": [0, 3, 2]}),
    "flash_varlen of floats": lambda: lift("flash_varlen", {**VARLEN, "cu_seqlens_k": [0.0, 2.0]}),
    "flash_varlen of a short length": lambda: lift("flash_varlen", {**VARLEN, "max_seqlen_k": 2}),
    "flash_varlen of other numbers of sequences": lambda: lift("flash_varlen", {**VARLEN, "cu_seqlens_k": [0, 5]}),
    "flash_varlen of one side": lambda: lift("flash_varlen", {**VARLEN, "window_size": 4}),
    "flash_varlen of a sequence in two items": lambda: lift(
        "flash_varlen",
        {**VARLEN, "cu_seqlens_q": [0, 4, 6], "cu_seqlens_k": [0, 4, 6], "max_seqlen_q": 4, "max_seqlen_k": 4},
        batch=2,
    ),
    "flash_varlen of indices without lengths": lambda: lift("flash_varlen", lower(CAUSAL, "flash_varlen")),
    "flash_varlen of too few tokens": lambda: lift("flash_varlen", lower(CAUSAL, "flash_varlen"), q=3, k=3),
    "hf_position_ids, lengths and heads": lambda: lower(am.compile(PER_HEAD, q=3, k=4, align="end"), "hf_position_ids"),
    "hf_position_ids, not causal and a window": lambda: lower(
        am.compile(am.window(left=1, right=1), q=4), "hf_position_ids"
    ),
    "hf_position_ids of three axes": lambda: lift("hf_position_ids", np.zeros((3, 1, 4), dtype=int)),
    "hf_position_ids of a jump": lambda: lift("hf_position_ids", [[0, 1, 7, 8]]),
    "hf_position_ids of left padding": lambda: lift("hf_position_ids", [[1, 1, 0, 1]]),
    "hf_position_ids of other bounds": lambda: lift(
        "hf_position_ids", {"position_ids": [[0, 1, 0]], "cu_seq_lens_q": [0, 3]}
    ),
    "hf_sliding_window, no path": lambda: lower(am.compile(am.window(1, 1), q=4), "hf_sliding_window"),
    "hf_sliding_window, two sides": lambda: lower(am.compile(am.window(2, 1), q=5), "hf_sliding_window"),
    "hf_sliding_window, other corner": lambda: lower(
        am.compile(am.causal(), q=3, k=5, align="start"), "hf_sliding_window"
    ),
    "hf_sliding_window, items": lambda: lower(PADDED, "hf_sliding_window"),
    "hf_sliding_window of an encoder": lambda: lift(
        "hf_sliding_window", {"is_causal": False, "sliding_window": 4}, q=9, k=9
    ),
    "hf_sliding_window of nothing": lambda: lift("hf_sliding_window", {"sliding_window": 0}, q=9, k=9),
    "hf_sliding_window of an unknown causality": lambda: lift("hf_sliding_window", {"is_causal": "yes"}, q=9, k=9),
    "flashmask, three stretches": lambda: lower(am.compile(am.dilated(2), q=7), "flashmask"),
    "flashmask of other lengths": lambda: lift(
        "flashmask", {"startend_row_indices": [[[[2], [2]]]], "causal": True}, q=3
    ),
    "flashmask of three numbers": lambda: lift("flashmask", {"startend_row_indices": [[[[2, 1, 1]]]], "causal": False}),
    "xformers, rows without a key": lambda: lower(BOTH, "xformers"),
    "xformers, no class": lambda: lower(am.compile(am.window(2, 1) & am.documents(lengths=[3, 4]), q=7), "xformers"),
    "xformers, no key": lambda: lower(am.compile(am.full(), q=2, k=0, align="start"), "xformers"),
    "xformers of a tensor": lambda: lift("xformers", torch.zeros(2, 2)),
    "flashinfer, heads": lambda: lower(am.compile(PER_HEAD, q=4), "flashinfer"),
    "flashinfer of several lengths": lambda: lift("flashinfer", {"qo_indptr": [0, 2, 5], "kv_indptr": [0, 2, 5]}),
    "flashinfer of a short mask": lambda: lift(
        "flashinfer", {"qo_indptr": [0, 3], "kv_indptr": [0, 3], "packed_custom_mask": np.zeros(1, dtype=np.uint8)}
    ),
    "flashinfer of a mask and a window": lambda: lift(
        "flashinfer",
        {"qo_indptr": [0, 1], "kv_indptr": [0, 1], "packed_custom_mask": np.zeros(1, np.uint8), "window_left": 2},
    ),
    "transformer_engine of another type": lambda: lift("transformer_engine", {"attn_mask_type": "sliding"}),
    "transformer_engine of padding on the left": lambda: lift(
        "transformer_engine", {"attn_mask_type": "padding", "attention_mask": np.array([[[[True, False]]]])}
    ),
    "transformer_engine of a window that it drops": lambda: lift(
        "transformer_engine", {"attn_mask_type": "no_mask", "window_size": (-1, 0)}, q=2, k=2
    ),
    "transformer_engine without its mask": lambda: lift("transformer_engine", {"attn_mask_type": "arbitrary"}),
    "cudnn, heads": lambda: lower(am.compile(PER_HEAD, q=4), "cudnn"),
    "cudnn, documents": lambda: lower(am.compile(am.documents(lengths=[2, 2]), q=4), "cudnn"),
    "cudnn of another alignment": lambda: lift("cudnn", {"diagonal_alignment": "CENTRE"}, q=2, k=2),
    "cudnn of a left bound of 0": lambda: lift("cudnn", {"diagonal_band_left_bound": 0}, q=2, k=2),
    "cudnn without lengths": lambda: lift("cudnn", {"use_padding_mask": True}, q=2, k=2),
    "cudnn of long items": lambda: lift(
        "cudnn", {"use_padding_mask": True, "seq_len_q": [3], "seq_len_kv": [2]}, q=2, k=2
    ),
    "magi, heads": lambda: lower(am.compile(PER_HEAD, q=4), "magi"),
    "magi of a range outside": lambda: lift("magi", {"q_ranges": [[0, 2]], "k_ranges": [[1, 4]]}, q=2, k=3),
    "magi of slices that share pairs": lambda: lift(
        "magi", {"q_ranges": [[0, 2], [1, 3]], "k_ranges": [[0, 2], [1, 3]]}, q=3, k=3
    ),
    "magi of a slice in two items": lambda: lift(
        "magi", {"q_ranges": [[0, 2]], "k_ranges": [[0, 4]]}, q=2, k=2, batch=2
    ),
    "magi of another type": lambda: lift(
        "magi", {"q_ranges": [[0, 2]], "k_ranges": [[0, 2]], "attn_type_map": [4]}, q=2, k=2
    ),
    "torch_encoder, cross-attention with empty rows": lambda: lower(
        am.compile(am.window(0, 0), q=3, k=2, align="start"), "torch_encoder"
    ),
    "torch_encoder, nested": lambda: lower(am.compile(am.causal().shift(1), q=3), "torch_encoder", form="nested"),
    "torch_encoder of a wrong hint": lambda: lift(
        "torch_encoder", {"mask": np.zeros((3, 3), dtype=bool), "is_causal": True}
    ),
    "torch_encoder of short lengths": lambda: lift("torch_encoder", {"lengths": [3, 1]}, q=2),
    "lists of several lengths": lambda: lift("lists", [[1, 1], [1]]),
    "lists of floats": lambda: lift("lists", [[0.0, 0.0], [0.0, 0.0]]),
    "lists of weights": lambda: lift("lists", [[1, 1], [1, 2]]),
    "lists of lists of lists": lambda: lift("lists", [[[1, 1]]]),
    "windows, a causal number of an encoder": lambda: windows.hf_from_window((2, 2), is_causal=True),
    "windows, one number for two sides": lambda: windows.keras_from_window((2, 1), use_causal_mask=False),
    "windows, one side of two": lambda: windows.one_side_from_window((2, 1)),
    "windows of no number": lambda: windows.window_from_xformers_causal(0),
    "windows of a negative side": lambda: windows.window_from_flash((-2, 0)),
    "windows of one side": lambda: windows.window_from_flash(4),  # type: ignore[arg-type]
    "windows of less than no neighbours": lambda: windows.flash_from_window((-1, 0)),
    "no lists": lambda: lift("lists", []),
    "jax of floats": lambda: lift("jax", {"mask": np.where(EYE == 1, 0.0, -1e4)}),
    "jax of five axes": lambda: lift("jax", {"mask": np.ones((1, 1, 1, 2, 2), dtype=bool)}),
    "jax without lengths": lambda: lift("jax", {"is_causal": True}),
    "jax of three sides": lambda: lift("jax", {"local_window_size": (1, 2, 3)}, q=3, k=3),
    "jax of a negative side": lambda: lift("jax", {"local_window_size": (-1, 0)}, q=3, k=3),
    "jax of items that differ": lambda: lift(
        "jax", {"mask": np.ones((2, 1, 3, 3), dtype=bool), "key_value_seq_lengths": [1, 2, 3]}
    ),
    "jax, another batch": lambda: lower(PADDED, "jax", batch=3),
    "flax of a bias": lambda: lift("flax", np.where(EYE == 1, 0.0, -1e4)),
    "flax of one axis": lambda: lift("flax", [True, False]),
    "keras of a bias": lambda: lift("keras", {"attention_mask": np.where(EYE == 1, 0.0, -1e9)}),
    "keras of tokens of one axis": lambda: lift("keras", {"value_mask": [1, 0]}, q=2, k=2),
    "keras of five axes": lambda: lift("keras", {"attention_mask": np.ones((1, 1, 1, 2, 2))}),
    "keras of heads and tokens": lambda: lift(
        "keras", {"attention_mask": np.ones((2, 2, 3, 3), dtype=bool), "value_mask": np.ones((2, 3), dtype=bool)}
    ),
    "keras, a layer of a window": lambda: lower(CAUSAL, "keras", sliding_window=2),
    "keras, a layer of no window": lambda: lower(CAUSAL, "keras", sliding_window=0),
    "onnx, opset": lambda: lower(CAUSAL, "onnx", opset=22),
    "onnx, dtype": lambda: lower(CAUSAL, "onnx", dtype="int8"),
    "onnx of two corners": lambda: lift("onnx", {"nonpad_kv_seqlen": [3, 4], "is_causal": 1}, q=2, k=4),
    "onnx of one key": lambda: lift("onnx", {"attn_mask": [[True], [True]]}, q=2, k=4),
    "onnx of more keys than there are": lambda: lift("onnx", {"nonpad_kv_seqlen": [5]}, q=2, k=4),
    "onnx of a negative window": lambda: lift("onnx", {"left_window_size": -2}, q=2, k=4),
    "onnx of items that differ": lambda: lift(
        "onnx", {"attn_mask": np.ones((2, 1, 3, 3), dtype=bool), "nonpad_kv_seqlen": [1, 2, 3]}
    ),
    "splash, rows and items": lambda: lower(
        am.compile(am.dense(np.stack([np.diag([0.0, 1, 1]), 1 - np.tri(3)]).astype(bool)[:, None]), q=3), "splash"
    ),
    "splash, items": lambda: lower(am.compile(am.window(0, 0) | am.prefix([1, 2]), q=3), "splash"),
    "splash, other heads": lambda: lower(am.compile(am.per_head([am.causal(), am.full()]), q=3), "splash", heads=3),
    "splash of floats": lambda: lift("splash", {"mask": EYE}),
    "splash of other lengths": lambda: lift("splash", {"mask": EYE == 1, "segment_ids": Segments([0, 1], [0, 1, 1])}),
    "tokamax of an array": lambda: lift("tokamax", EYE == 1),
    "tokamax without lengths": lambda: lift("tokamax", tokamax.Mask(is_causal=True)),
    "tokamax of other lengths": lambda: lift("tokamax", tokamax.Mask(k_start=np.array([0, 1])), q=3, k=3),
    "tokamax of floats": lambda: lift("tokamax", tokamax.Mask(bool_mask=EYE)),
}
GOLDEN = Path(__file__).with_name("errors.txt")


def text_of(case: str) -> str:
    with pytest.raises(am.AttnMaskError) as error:
        CASES[case]()
    return f"[{case}] {type(error.value).__name__}\n{error.value}"


@pytest.mark.parametrize("case", CASES)
def test_error_texts(case: str) -> None:
    assert text_of(case) in GOLDEN.read_text(encoding="utf-8").strip().split("\n\n")


def test_every_golden_error_has_a_case() -> None:
    blocks = GOLDEN.read_text(encoding="utf-8").strip().split("\n\n")
    assert [block.partition("]")[0].strip("[") for block in blocks] == list(CASES)


def test_a_form_that_the_memory_does_not_hold_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(runs: Runs) -> NoReturn:
        raise MemoryError("Unable to allocate 1.00 TiB")

    monkeypatch.setattr(Runs, "to_dense", too_large)
    with pytest.raises(CannotExpressError, match=r"(?s)it does not fit into the memory: .* 1\.00 TiB.*to do: "):
        lower(am.compile(am.window(left=3, right=0), q=8), "sdpa")


def test_a_device_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(am.AttnMaskError, match=r"(?s)nothing can be put on 'cuda:99': .*to do: "):
        lower(CAUSAL, "dense_torch", device="cuda:99")


if __name__ == "__main__":
    # Written anew after a change of words: read the difference.
    GOLDEN.write_text("\n\n".join(map(text_of, CASES)) + "\n", encoding="utf-8")
