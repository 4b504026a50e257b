"""Models, texts and options that cannot be encoded are refused by one clear error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from tests.hf.small_models import tiny

TEXTS = ["An attention mask is a set of pairs.", "Short."]


class Mixing(tf.BertModel):
    """One that mixes all the tokens of a row."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.last_hidden_state = out.last_hidden_state + out.last_hidden_state.mean(1, keepdim=True)
        return out


def _changed(name: str, **changes: Any) -> Any:
    model = tiny(name)
    for key, value in changes.items():
        setattr(model.config, key, value)
    return model


REFUSED: dict[str, Any] = {
    "BloomModel gives packed texts other states than each alone": lambda: am.hf.tiny_model("bloom"),
    "BartModel gives packed texts other states than each alone": lambda: am.hf.tiny_model("bart"),
    "JambaModel gives packed texts other states than each alone": lambda: am.hf.tiny_model("jamba"),
    "SwitchTransformersModel gives packed texts other states": lambda: am.hf.tiny_model("switch_transformers"),
    "LlamaModel turns positions by the length of the row": lambda: _changed(
        "llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    ),
    "BertModel is configured as a decoder": lambda: _changed("bert", is_decoder=True),
    "RobertaModel has position_embedding_type='relative_key'": lambda: _changed(
        "roberta", position_embedding_type="relative_key"
    ),
    "DistilBertModel cuts its feed-forward layers into chunks": lambda: _changed(
        "distilbert", chunk_size_feed_forward=4
    ),
    "Mixing gives packed texts other states than each alone": lambda: Mixing(tiny("bert").config),
    "Linear is no model of transformers": lambda: torch.nn.Linear(2, 2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_model_that_cannot_be_run_exactly_is_refused_by_name(message: str, minilm: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        am.hf.encode(REFUSED[message](), minilm[1], TEXTS)


@pytest.mark.parametrize(
    ("message", "texts", "options"),
    [
        ("texts is str", "one text", {}),
        ("texts is set", {"a"}, {}),
        (r"texts\[1\] is int", ["a", 1], {}),
        (r"texts\[1\] is NoneType", ["a", None], {}),
        (r"texts\[2\] is empty", ["a", "b", "", ""], {}),
        (r"texts\[1\] is empty", ["a", " \n"], {}),
        (
            r"texts\[1\] is empty, and so are texts\[2\], texts\[3\], texts\[4\], texts\[5\], texts\[6\] and 3 more",
            ["a"] + [""] * 9,
            {},
        ),
        ("on_empty is 'skip'", ["a"], {"on_empty": "skip"}),
        (r"texts\[0\] holds half a character", ["a\ud800"], {}),
        ("pool is 'max'", ["a"], {"pool": "max"}),
        ("batch_order is 'random'", ["a"], {"batch_order": "random"}),
        ("token_budget is 0", ["a"], {"token_budget": 0}),
        ("token_budget is -1", ["a"], {"token_budget": -1}),
        ("max_length is 2", ["a"], {"max_length": 2}),
        ("max_length is 65", ["a"], {"max_length": 65}),
        ("max_length is 9.5", ["a"], {"max_length": 9.5}),
        ("the weight of 'a' is -1", ["a"], {"token_weights": {"a": -1}}),
    ],
)
def test_bad_input_gets_one_clear_error(message: str, texts: Any, options: dict[str, Any], minilm: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        am.hf.encode(tiny("bert"), minilm[1], texts, **options)


def test_a_tokenizer_of_another_model_is_refused(minilm: Any) -> None:
    config = tiny("bert").config
    config.vocab_size = 100
    with pytest.raises(ArgumentError, match="the tokenizer has 30522 tokens, the model 100"):
        am.hf.encode(tf.BertModel(config), minilm[1], TEXTS)
