"""``model.generate`` writes the same tokens as under eager attention, batched and padded on the left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

from attnmask.hf.models.tiny_models import tiny_config
from tests.hf.packing.test_packed_training import model_of
from tests.hf.small_models import VOCABULARY, batch

DECODERS = ("llama", "mistral", "gpt2", "gemma2", "qwen2", "gemma3_text")
TWO_TEXTS = ("t5", "bart")
OPTIONS: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}


def _model(name: str) -> tf.PreTrainedModel:
    if name in TWO_TEXTS:
        config = tiny_config(name)
        config._attn_implementation = "eager"
        torch.manual_seed(0)
        model = tf.AutoModelForSeq2SeqLM.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.generation_config.forced_eos_token_id = None
        model.generation_config.decoder_start_token_id = 0
        return model.eval()
    return model_of(name, tf.AutoModelForCausalLM, hidden_dropout_prob=0.0).float().eval()


def _written(model: tf.PreTrainedModel, implementation: str, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    model.set_attn_implementation(implementation)
    return model.generate(**inputs, **OPTIONS, **options)


@pytest.mark.parametrize("cache", ["dynamic", "static", None])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", [*DECODERS, *TWO_TEXTS])
def test_the_same_tokens_as_eager_attention(name: str, beams: int, cache: str | None) -> None:
    model, inputs = _model(name), batch("left", lengths=(20, 7, 13))
    if name in TWO_TEXTS:
        inputs["input_ids"] = inputs["input_ids"] % 100 + 5
    options = {"num_beams": beams, "cache_implementation": cache} if cache else {"num_beams": beams, "use_cache": False}
    want = _written(model, "eager", inputs, **options)
    got = _written(model, "attnmask", inputs, **options)
    assert want.shape == got.shape
    assert got.tolist() == want.tolist()
    if name in TWO_TEXTS:  # tied to what they read, they repeat themselves: what they made of each step says more
        model.set_attn_implementation("attnmask")
        got, other = (_logits(model, {**inputs, **mask}, **options) for mask in ({}, {"attention_mask": ones(inputs)}))
        model.set_attn_implementation("eager")
        want = _logits(model, inputs, **options)
        assert float((got - want).abs().max()) < 1e-4 * float(want.abs().max())
        assert float((other - want).abs().max()) > 1e-2 * float(want.abs().max())
    else:
        assert len(set(want.flatten().tolist())) > 5


def ones(inputs: dict[str, Tensor]) -> Tensor:
    return torch.ones_like(inputs["attention_mask"])


def _logits(model: tf.PreTrainedModel, inputs: dict[str, Tensor], **options: Any) -> Tensor:
    found = model.generate(**inputs, **OPTIONS, **options, output_logits=True, return_dict_in_generate=True)
    return torch.stack(found.logits)


def test_each_text_of_a_batch_goes_on_as_it_does_alone() -> None:
    model, lengths = _model("mistral"), (20, 7, 13)
    inputs = batch("left", lengths=lengths)
    together = _written(model, "attnmask", inputs)[:, 20:]
    for row, length in enumerate(lengths):
        ids = inputs["input_ids"][row : row + 1, 20 - length :]
        alone = _written(model, "eager", {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        assert together[row].tolist() == alone[0, length:].tolist()


def test_prefilling_in_chunks_gives_the_same_tokens() -> None:
    model, inputs = _model("mistral"), batch("left", lengths=(40, 31))
    whole = _written(model, "attnmask", inputs)
    assert _written(model, "attnmask", inputs, prefill_chunk_size=16).tolist() == whole.tolist()


def test_assisted_generation_checks_several_tokens_at_once() -> None:
    model = _model("llama")
    inputs = batch("left", lengths=(20,))
    want = _written(model, "eager", inputs)
    assert _written(model, "attnmask", inputs, prompt_lookup_num_tokens=3).tolist() == want.tolist()
    assert int(want.max()) < VOCABULARY
