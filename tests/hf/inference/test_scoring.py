"""Log-likelihoods without padding are those of each text alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.warnings_issued import TruncationWarning
from tests.hf.inference.test_encode import TEXTS
from tests.hf.small_models import DECODERS, SCORED, tiny


def alone(model: Any, tokenizer: Any, text: str, most: int = 64) -> float:
    model.set_attn_implementation("eager")
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=most)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, :-1].double()
    return float(logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum())


@pytest.mark.parametrize("name", [*DECODERS, *SCORED])
def test_each_text_is_as_likely_as_alone(name: str, minilm: Any) -> None:
    model, tokenizer = tiny(name, kind=tf.AutoModelForCausalLM), minilm[1]
    expected = np.array([alone(model, tokenizer, text) for text in TEXTS])
    for budget in (1, 60):
        found = am.hf.score(model, tokenizer, TEXTS, 64, token_budget=budget)
        np.testing.assert_allclose(found.log_likelihoods, expected, rtol=2e-5)
    assert model.config._attn_implementation == "eager"
    np.testing.assert_allclose(found.perplexities, np.exp(-expected / found.tokens), rtol=2e-4)


def test_a_text_of_one_token_has_nothing_to_predict(minilm: Any) -> None:
    class One:
        """A tokenizer of letters, without special tokens."""

        model_max_length = 64

        def __len__(self) -> int:
            return 200

        def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

        def num_special_tokens_to_add(self) -> int:
            return 0

    found = am.hf.score(tiny("gpt2", kind=tf.AutoModelForCausalLM), One(), ["a", "ab"])
    assert found.tokens.tolist() == [0, 1]
    assert found.log_likelihoods[0] == 0
    assert np.isnan(found.perplexities[0])


def test_what_is_cut_is_said(minilm: Any) -> None:
    with pytest.warns(TruncationWarning, match="1 of 9 texts were cut at 40 tokens"):
        am.hf.score(tiny("llama", kind=tf.AutoModelForCausalLM), minilm[1], TEXTS, 40)


def test_models_that_predict_no_next_token_are_refused(minilm: Any) -> None:
    for model in (tiny("llama"), tiny("bert", kind=tf.AutoModelForMaskedLM)):
        with pytest.raises(UnsupportedModelError, match="predicts no next token"):
            am.hf.score(model, minilm[1], TEXTS)
    with pytest.raises(ArgumentError, match="token_budget is 0"):
        am.hf.score(tiny("llama", kind=tf.AutoModelForCausalLM), minilm[1], TEXTS, token_budget=0)


def test_what_is_wrong_with_texts_is_said_of_score(minilm: Any) -> None:
    model = tiny("llama", kind=tf.AutoModelForCausalLM)
    for texts, limit, where in (([""], None, "texts"), ("a text", None, "texts"), (["a text"], 1, "max_length")):
        with pytest.raises(ArgumentError) as caught:
            am.hf.score(model, minilm[1], texts, limit)
        assert caught.value.where == f"score({where}=)"
