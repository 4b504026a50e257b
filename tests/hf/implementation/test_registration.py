"""What the caller has set is as before behind every call, and register() is undone by unregister()."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from transformers import AttentionInterface, PreTrainedModel, masking_utils
from transformers.models.mpnet import modeling_mpnet

import attnmask as am
from attnmask.errors import AttnMaskError
from tests.hf.small_models import batch, tiny

PLACES: list[tuple[Any, str]] = [
    (masking_utils, "_preprocess_mask_arguments"),
    (PreTrainedModel, "_check_and_adjust_attn_implementation"),
    (modeling_mpnet.MPNetEncoder, "compute_position_bias"),
    (modeling_mpnet.MPNetSelfAttention, "forward"),
    (modeling_mpnet.MPNetPreTrainedModel, "_can_set_attn_implementation"),
]


class Tokens:
    """All of a tokenizer that packing asks for."""

    pad_token_id = 1


def state() -> list[Any]:
    """What calls might leave otherwise."""
    return [
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), list(warnings.filters),
        torch.are_deterministic_algorithms_enabled(), np.geterr(),
    ]  # fmt: skip


def fails() -> Any:
    raise RuntimeError("an error of the caller")


@pytest.fixture
def calls(minilm: tuple[Any, Any]) -> dict[str, Callable[[], Any]]:
    model, tokenizer = minilm
    llama = tiny("llama", kind=tf.AutoModelForCausalLM)
    made = {"electra": tiny("electra"), "bart": am.hf.tiny_model("bart")}
    inputs = batch("right", lengths=(9, 6))

    def weighted(body: Callable[[], Any]) -> None:
        with am.hf.weighted(tiny_bert, np.ones((2, 9))):
            tiny_bert(**inputs)
            body()

    tiny_bert = tiny("bert")
    texts = ["one text", "another text of more"] * 4
    pack = am.hf.PackingCollator.for_model
    return {
        "encode": lambda: am.hf.encode(model, tokenizer, texts, token_budget=8),
        "encode, stopped": lambda: am.hf.encode(
            model, tokenizer, texts, token_budget=8, progress=lambda done, total: fails()
        ),
        "encode, refused": lambda: am.hf.encode(model, tokenizer, [""]),
        "score": lambda: am.hf.score(llama, tokenizer, texts),
        "weighted": lambda: weighted(lambda: None),
        "weighted, stopped": lambda: weighted(fails),
        "tiny_model": lambda: am.hf.tiny_model("gpt2", seed=3),
        "tiny_model, refused": lambda: am.hf.tiny_model("nope"),
        "trial": lambda: am.hf.encode(made["electra"], tokenizer, texts),
        "for_model": lambda: pack(made["bart"], Tokens(), row_tokens=9),  # pyright: ignore
        "register": am.hf.register,
        "accept_weights": lambda: am.hf.accept_weights(tiny_bert).close(),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_calls_leave_the_state_as_it_was(calls: dict[str, Callable[[], Any]], dtype: torch.dtype) -> None:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        for name, call in calls.items():
            before = state()
            try:
                call()
            except (AttnMaskError, RuntimeError):
                assert "stopped" in name or "refused" in name
            assert state() == before, name
    finally:
        torch.set_default_dtype(usual)


@pytest.fixture
def unregistered() -> Iterator[None]:
    am.hf.unregister()
    yield
    am.hf.register()


@pytest.mark.usefixtures("unregistered")
def test_unregister_undoes_register() -> None:
    before = [vars(owner).get(name) for owner, name in PLACES]
    for _ in range(2):
        am.hf.register()
        am.hf.register()
        assert all(vars(owner).get(name) is not was for (owner, name), was in zip(PLACES, before, strict=True))
        am.hf.unregister()
        am.hf.unregister()
        assert [vars(owner).get(name) for owner, name in PLACES] == before
        assert "attnmask" not in AttentionInterface().valid_keys()
    with pytest.raises(ValueError, match="attnmask"):
        tf.BertModel(tf.BertConfig(hidden_size=8, num_attention_heads=2, attn_implementation="attnmask"))


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize("name", ["bert", "llama", "mpnet", "t5"])
def test_a_model_that_lives_on_under_the_string_is_refused_in_words(name: str) -> None:
    am.hf.register()
    model, inputs = tiny(name), batch("right", lengths=(9, 6))
    if name == "t5":
        model = model.get_encoder()  # pyright: ignore
    model.set_attn_implementation("attnmask")
    with torch.no_grad():
        want = model(**inputs).last_hidden_state
        am.hf.unregister()
        with pytest.raises(AttnMaskError, match="no longer registered"):
            model(**inputs)
        am.hf.register()
        assert torch.equal(model(**inputs).last_hidden_state, want)
        model.set_attn_implementation("eager")
        am.hf.unregister()
        model(**inputs)


def test_what_others_wrapped_later_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    am.hf.register()
    ours = masking_utils._preprocess_mask_arguments  # pyright: ignore[reportPrivateUsage]

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(masking_utils, "_preprocess_mask_arguments", theirs)
        am.hf.unregister()
        assert masking_utils._preprocess_mask_arguments is theirs  # pyright: ignore[reportPrivateUsage]
        with torch.no_grad():
            tiny("bert")(**batch("right", lengths=(9, 6)))
    am.hf.register()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_models_that_share_a_config_do_not_switch_each_other(name: str, minilm: tuple[Any, Any]) -> None:
    one = tiny(name)
    other = type(one)(one.config).eval()
    assert other.config is one.config
    inputs = batch("right", lengths=(9, 6))
    weights = np.linspace(0.2, 3, 18).reshape(2, 9).astype(np.float32)
    seen: list[str] = []
    with torch.no_grad():
        want = other(**inputs).last_hidden_state
        mine = one(**inputs).last_hidden_state
        with am.hf.weighted(one, weights):
            assert other.config._attn_implementation == "eager"
            assert torch.equal(other(**inputs).last_hidden_state, want)
            assert not torch.allclose(one(**inputs).last_hidden_state, mine, atol=1e-3)
            with am.hf.weighted(other, np.ones((2, 9))):
                assert torch.allclose(other(**inputs).last_hidden_state[0], want[0], atol=1e-4)
                am.hf.encode(other, minilm[1], ["a text"], "mean")
            assert not torch.allclose(one(**inputs).last_hidden_state, mine, atol=1e-3)
        assert torch.equal(one(**inputs).last_hidden_state, mine)
        pools = "last" if name == "llama" else "mean"
        am.hf.encode(
            one, minilm[1], ["a", "b"], pools, progress=lambda *_: seen.append(str(other.config._attn_implementation))
        )
        assert seen == ["eager"]
        am.hf.accept_weights(one)
        assert (one.config._attn_implementation, other.config._attn_implementation) == ("attnmask", "eager")
        assert torch.equal(other(**inputs).last_hidden_state, want)
    assert all(module.config is not one.config for module in other.modules() if hasattr(module, "config"))


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_weighted_takes_what_token_weights_returns(name: str, minilm: tuple[Any, Any]) -> None:
    model, tokenizer, text = tiny(name), minilm[1], "A mask of attention."
    weights = am.hf.token_weights(tokenizer, text, {"mask": 2.0})
    inputs = tokenizer(text, return_tensors="pt")
    inputs.pop("token_type_ids")
    states: list[torch.Tensor] = []
    for given in (torch.from_numpy(weights), weights, weights[None], weights.tolist(), [weights], weights.astype("f8")):
        with torch.no_grad(), am.hf.weighted(model, given):
            states.append(model(**inputs).last_hidden_state)
    for each in states[1:]:
        torch.testing.assert_close(each, states[0], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(model(**inputs).last_hidden_state, states[0], atol=1e-3)
