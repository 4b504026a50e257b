"""Models that ask no AttentionInterface, made under attn_implementation="attnmask"."""

from __future__ import annotations

import sys
import types

import pytest
import torch
import transformers as tf

import attnmask as am
from attnmask.errors import UnsupportedModelError
from attnmask.hf.models.tiny_models import tiny_config

TEXTS = {
    "input_ids": torch.arange(40).view(2, 20) + 5,
    "attention_mask": (torch.arange(20) < torch.tensor([[20], [13]])).long(),
}


@pytest.fixture(autouse=True)
def registered() -> None:
    am.hf.register()


@pytest.mark.parametrize(
    "name", ["deberta", "deberta-v2", "bloom", "mpt", "longformer", "gptj", "gpt_neo", "falcon", "codegen", "xlnet"]
)
def test_a_model_that_asks_nobody_runs_as_under_eager_and_says_so(name: str) -> None:
    want = am.hf.tiny_model(name)
    with pytest.warns(am.hf.OwnAttentionWarning, match="has its own attention code") as caught:
        model = tf.AutoModel.from_config(tiny_config(name), attn_implementation="attnmask").eval()
    assert type(want).__name__ == caught[0].message.model
    model.load_state_dict(want.state_dict())
    want.set_attn_implementation("eager")
    assert torch.equal(model(**TEXTS).last_hidden_state, want(**TEXTS).last_hidden_state)


def test_layers_chosen_from_a_table_are_made_and_refuse_a_mask_that_they_would_add() -> None:
    model = tf.AutoModel.from_config(tiny_config("git"), attn_implementation="attnmask")
    with pytest.raises(UnsupportedModelError, match="adds the mask to its scores itself"):
        model(**TEXTS)


def test_code_of_ones_own_that_asks_an_interface_keeps_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_code")
    module.table = tf.AttentionInterface()
    monkeypatch.setitem(sys.modules, "own_code", module)
    model = type("Own", (tf.BertModel,), {"__module__": "own_code"})
    made = model._from_config(tiny_config("bert"), attn_implementation="attnmask")
    assert made.config._attn_implementation == "attnmask"
