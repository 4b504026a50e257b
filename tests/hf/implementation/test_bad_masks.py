"""Masks that eager attention misreads in silence: here the right answer, or an error that says where.

Each test first shows what eager attention makes of the mask, by how far it is from the answer of the right one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

import attnmask as am
from attnmask.errors import AmbiguousError, ArgumentError
from tests.hf.implementation.test_interface import NOTICED, TOLERANCE
from tests.hf.small_models import batch, error, hidden, tiny

BATCH = batch("left", lengths=(9, 6))
IDS, TOKENS = BATCH["input_ids"], BATCH["attention_mask"]
NAMES = ("bert", "llama", "bart")


def _bart() -> tf.PreTrainedModel:
    torch.manual_seed(0)
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder")
             for name, size in {"layers": 2, "attention_heads": 4, "ffn_dim": 64}.items()}  # fmt: skip
    config = tf.BartConfig(vocab_size=30522, d_model=32, max_position_embeddings=64, init_std=0.3, **sides)
    return tf.BartModel._from_config(config, attn_implementation="eager").eval()


def _run(name: str, implementation: str, mask: Tensor) -> Tensor:
    """The last hidden states of an encoder, a decoder, or the decoder of both that reads the encoder's states."""
    model = _bart() if name == "bart" else tiny(name)
    words: dict[str, Any] = {"decoder_input_ids": IDS[:, 3:]} if name == "bart" else {}
    return hidden(model, implementation, input_ids=IDS, attention_mask=mask, **words)


def _far(name: str, implementation: str, mask: Tensor) -> float:
    """How far the hidden states of real tokens are from what they are under the right mask."""
    real = None if name == "bart" else TOKENS
    return error(_run(name, implementation, mask), _run(name, "eager", TOKENS), real)


def _on_four_axes(name: str) -> Tensor:
    """Bools of what the model attends to, True attends."""
    keys = TOKENS.bool()[:, None, None]
    return keys & torch.ones(9, 9, dtype=torch.bool).tril() if name == "llama" else keys


@pytest.mark.parametrize("name", NAMES)
def test_bools_on_four_axes_are_a_mask_and_not_a_bias_of_1(name: str) -> None:
    mask = _on_four_axes(name)
    assert _far(name, "eager", mask) > NOTICED
    assert _far(name, "attnmask", mask) < TOLERANCE


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
@pytest.mark.parametrize("name", NAMES)
def test_ones_and_zeros_on_four_axes_are_refused(name: str, kind: torch.dtype) -> None:
    mask = _on_four_axes(name).to(kind)
    assert _far(name, "eager", mask) > NOTICED
    with pytest.raises(ArgumentError, match=r"holds (only 0\.0 and 1\.0|int64 values)") as caught:
        _run(name, "attnmask", mask)
    assert "give bools, True attends: mask.bool()" in caught.value.fix
    assert "Attention" in caught.value.where


@pytest.mark.parametrize("name", NAMES)
def test_floats_of_one_and_zero_on_two_axes_are_tokens_and_padding(name: str) -> None:
    assert _far(name, "eager", TOKENS.float()) == 0
    assert _far(name, "attnmask", TOKENS.float()) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_an_additive_mask_on_two_axes_is_refused_not_inverted(name: str) -> None:
    added = (1.0 - TOKENS) * -1e4
    assert _far(name, "eager", added) > NOTICED
    with pytest.raises(ArgumentError, match=r"attention_mask\[1, 0\] is -10000, neither 1 \(a token\) nor 0") as caught:
        _run(name, "attnmask", added)
    assert "give mask == 0" in caught.value.fix
    assert _far(name, "attnmask", added == 0) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_an_additive_mask_that_masks_nothing_is_refused_not_inverted(name: str) -> None:
    right, inverted = (_run(name, "eager", mask) for mask in (torch.ones(2, 9), torch.zeros(2, 9)))
    assert error(inverted, right) > NOTICED
    with pytest.raises(AmbiguousError, match=r"attention_mask \(2, 9\) holds 0\.0 alone"):
        _run(name, "attnmask", torch.zeros(2, 9))


@pytest.mark.parametrize("name", NAMES)
def test_half_a_token_is_refused_not_taken_for_a_whole_one(name: str) -> None:
    assert _far(name, "eager", TOKENS * 0.5) == 0
    with pytest.raises(ArgumentError, match=r"attention_mask\[0, 0\] is 0\.5, neither 1") as caught:
        _run(name, "attnmask", TOKENS * 0.5)
    assert "hf.weighted" in caught.value.fix


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_that_is_too_short_is_refused(name: str) -> None:
    all_tokens = torch.ones_like(TOKENS)
    assert error(_run(name, "eager", all_tokens[:, :5]), _run(name, "eager", TOKENS)) > NOTICED
    with pytest.raises(ArgumentError, match=r"for 5 keys, the layer has 9|has 5 entries a text, .* 9 tokens"):
        _run(name, "attnmask", all_tokens[:, :5])


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_that_is_too_long_is_refused(name: str) -> None:
    longer = torch.cat([torch.zeros(2, 3), TOKENS], 1)
    if name == "llama":  # which cuts off the end; the others run into an error of the tensors' sizes
        assert _far(name, "eager", longer) > NOTICED
    with pytest.raises(ArgumentError, match=r"for 12 keys, the layer has 9|has 12 entries a text, .* 9 tokens"):
        _run(name, "attnmask", longer)


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_of_more_texts_is_refused_not_cut(name: str) -> None:
    more = torch.cat([TOKENS, TOKENS[:1]])
    assert _far(name, "eager", more) == 0
    with pytest.raises(ArgumentError, match=r"attention_mask has shape \(3, 9\), the batch 2 items"):
        _run(name, "attnmask", more)


@pytest.mark.parametrize("shape", [(2, 1, 9, 5), (2, 1, 8, 9), (3, 1, 9, 9), (2, 9, 9, 1)])
def test_a_mask_on_four_axes_of_other_lengths_is_refused(shape: tuple[int, ...]) -> None:
    for name in ("bert", "llama"):
        with pytest.raises(ArgumentError, match=r"the layer \(B, H, Q, K\) = \(2, 4, 9, 9\)"):
            _run(name, "attnmask", torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_a_mask_is_refused_not_taken_for_a_token(name: str) -> None:
    spoilt = TOKENS.float().masked_fill(TOKENS == 0, torch.nan)
    assert _far(name, "eager", spoilt) > NOTICED
    with pytest.raises(ArgumentError, match=r"attention_mask\[1, 0\] is nan, neither 1"):
        _run(name, "attnmask", spoilt)
    spoilt = torch.zeros(2, 1, 1, 9).masked_fill(TOKENS[:, None, None] == 0, torch.nan)
    assert _run(name, "eager", spoilt).isnan().any()
    with pytest.raises(ArgumentError, match=r"attention_mask\[1, 0, 0, 0\] is nan, neither 0"):
        _run(name, "attnmask", spoilt)


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -1.0])
def test_unusable_weights_are_refused(name: str, bad: float) -> None:
    model, weights = tiny(name), torch.ones(2, 9)
    weights[1, 4] = bad
    with am.hf.weighted(model, weights), pytest.raises(ArgumentError, match=rf"weights\[1, 4\] is {bad}"):
        model(**BATCH)


def test_with_a_cache_a_mask_speaks_of_all_tokens_so_far() -> None:
    """Dynamic and static; that a mask of the right length gives the right answer is tested with generation."""
    model = tiny("llama")
    model.set_attn_implementation("attnmask")
    for cache in (tf.DynamicCache(config=model.config), tf.StaticCache(config=model.config, max_cache_len=16)):
        with torch.no_grad():
            model(input_ids=IDS[:, :6], attention_mask=TOKENS[:, :6], past_key_values=cache)
            with pytest.raises(ArgumentError, match="has 3 entries a text, cache and call together 9 tokens"):
                model(input_ids=IDS[:, 6:], attention_mask=TOKENS[:, 6:], past_key_values=cache)


def test_a_mask_may_speak_of_the_room_in_a_static_cache() -> None:
    model = tiny("llama")
    right = hidden(model, "eager", input_ids=IDS, attention_mask=TOKENS)
    room = torch.cat([TOKENS, torch.ones(2, 7)], 1)
    cache = tf.StaticCache(config=model.config, max_cache_len=16)
    ours = hidden(model, "attnmask", input_ids=IDS, attention_mask=room, past_key_values=cache)
    assert error(ours, right, TOKENS) < TOLERANCE


def test_other_implementations_are_left_alone() -> None:
    before = tf.masking_utils._preprocess_mask_arguments
    am.hf.register()
    assert tf.masking_utils._preprocess_mask_arguments is before
    assert torch.equal(_run("bert", "sdpa", TOKENS * 0.5), _run("bert", "sdpa", TOKENS))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("made", [Tensor.tolist, Tensor.numpy])
def test_a_mask_that_is_no_tensor_is_refused(name: str, made: Any) -> None:
    with pytest.raises(AttributeError):
        _run(name, "eager", made(TOKENS))
    with pytest.raises(ArgumentError, match=r"attention_mask is a (list|ndarray)\n.*\n.*torch.as_tensor"):
        _run(name, "attnmask", made(TOKENS))
