"""Models under attn_implementation="attnmask" give at real tokens what they give under eager attention."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.implementation import interface, mpnet
from attnmask.hf.implementation.model_mask import ModelMask
from attnmask.hf.models.switched_models import under_attnmask
from tests.hf.small_models import CONFIGS, DECODERS, ENCODERS, batch, error, hidden, tiny

TOLERANCE = 5e-6
NOTICED = 1e-2

BATCHES: dict[str, dict[str, Tensor]] = {
    "right": batch("right"),
    "left": batch("left"),
    "one text": batch("right", lengths=(20,)),
    "one token": batch("right", lengths=(1,)),
    "all ones": batch("right", lengths=(20, 20)),
    "no mask": {"input_ids": batch("right", lengths=(20, 20))["input_ids"]},
    "hole": {**batch(), "attention_mask": batch()["attention_mask"].index_fill(1, torch.tensor([3, 4]), 0)},
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("padded", BATCHES)
def test_hidden_states_of_real_tokens_are_those_of_eager_attention(name: str, padded: str) -> None:
    model, inputs = tiny(name), BATCHES[padded]
    eager, ours = (hidden(model, implementation, **inputs) for implementation in ("eager", "attnmask"))
    assert model.config._attn_implementation == "attnmask"
    assert error(ours, eager, inputs.get("attention_mask")) < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_a_mask_that_is_wrong_in_one_key_would_be_noticed(name: str) -> None:
    model, inputs = tiny(name), batch("right", lengths=(20, 13))
    wrong = {**inputs, "attention_mask": inputs["attention_mask"].clone()}
    wrong["attention_mask"][1, 5] = 0
    eager, ours = hidden(model, "eager", **inputs), hidden(model, "attnmask", **wrong)
    assert error(ours[1:], eager[1:], wrong["attention_mask"][1:]) > NOTICED


def test_a_window_that_is_one_key_too_short_would_be_noticed() -> None:
    for name in ("modernbert", "mistral"):
        model, inputs = tiny(name), batch("right", lengths=(20,))
        eager = hidden(model, "eager", **inputs)
        model.config.sliding_window -= 1
        assert error(hidden(model, "attnmask", **inputs), eager) > NOTICED


@pytest.mark.parametrize("name", DECODERS)
def test_packed_position_ids_of_a_decoder_keep_texts_apart(name: str) -> None:
    model, ids = tiny(name), batch("right", lengths=(20,))["input_ids"]
    positions = torch.cat([torch.arange(12), torch.arange(8)])[None]
    # transformers looks for packed texts only where there is no cache.
    inputs = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    eager, ours = (hidden(model, impl, **inputs) for impl in ("eager", "attnmask"))
    alone = hidden(model, "eager", input_ids=ids[:, 12:])
    assert error(ours, eager) < TOLERANCE
    assert error(ours[:, 12:], alone) < TOLERANCE


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_decoding_with_a_cache_gives_what_one_pass_gives(name: str, side: str) -> None:
    model, inputs = tiny(name), batch(side, lengths=(20, 13) if side == "left" else (20, 20))
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = hidden(model, "eager", **inputs, position_ids=positions)
    cache, parts = tf.DynamicCache(config=model.config), []
    model.set_attn_implementation("attnmask")
    with torch.inference_mode():
        for some in (slice(0, 11), slice(11, 15), *(slice(i, i + 1) for i in range(15, 20))):
            given = {"input_ids": inputs["input_ids"][:, some], "position_ids": positions[:, some]}
            parts.append(model(**given, attention_mask=mask[:, : some.stop], past_key_values=cache).last_hidden_state)
    assert error(torch.cat(parts, 1), whole, mask) < TOLERANCE


def test_a_static_cache_works_too() -> None:
    model, inputs = tiny("llama"), batch("left", lengths=(20, 13))
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = hidden(model, "eager", **inputs, position_ids=positions)
    cache, parts = tf.StaticCache(config=model.config, max_cache_len=32), []
    model.set_attn_implementation("attnmask")
    with torch.inference_mode():
        for some in (slice(0, 18), slice(18, 19), slice(19, 20)):
            given = {"input_ids": inputs["input_ids"][:, some], "position_ids": positions[:, some]}
            parts.append(model(**given, attention_mask=mask[:, : some.stop], past_key_values=cache).last_hidden_state)
    assert error(torch.cat(parts, 1), whole, mask) < TOLERANCE


@pytest.mark.parametrize("name", ["bert", "mpnet", "gpt2"])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_users_four_axes_mask_is_read(name: str, kind: str) -> None:
    model, ids = tiny(name), batch("right", lengths=(9, 9))["input_ids"]
    attends = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    attends |= torch.eye(9, dtype=torch.bool)
    added = torch.where(attends, 0.0, torch.finfo(torch.float32).min)
    eager = hidden(model, "eager", input_ids=ids, attention_mask=added)
    ours = hidden(model, "attnmask", input_ids=ids, attention_mask=attends if kind == "bool" else added)
    assert error(ours, eager) < TOLERANCE


def test_a_bias_in_a_four_axes_mask_is_refused() -> None:
    model, ids = tiny("bert"), batch("right", lengths=(9,))["input_ids"]
    with pytest.raises(ArgumentError, match=r"is -0\.5, neither 0"):
        hidden(model, "attnmask", input_ids=ids, attention_mask=torch.full((1, 1, 9, 9), -0.5))


def test_a_mask_of_three_axes_is_refused() -> None:
    model, ids = tiny("bert"), batch("right", lengths=(9,))["input_ids"]
    with pytest.raises(ArgumentError, match=r"attention_mask has shape \(1, 9, 9\)"):
        hidden(model, "attnmask", input_ids=ids, attention_mask=torch.ones(1, 9, 9))


def test_cross_attention_sees_the_encoders_padding() -> None:
    torch.manual_seed(0)
    config = tf.BertConfig(
        vocab_size=50, hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64,
        is_decoder=True, add_cross_attention=True, initializer_range=0.3, attn_implementation="eager",
    )  # fmt: skip
    model = tf.BertModel(config).eval()
    mask = torch.tensor([[1] * 5, [1, 1, 0, 0, 0]])
    inputs = {"input_ids": torch.randint(50, (2, 7)), "encoder_hidden_states": torch.randn(2, 5, 32)}
    for given in ({"encoder_attention_mask": mask}, {}):
        eager, ours = (hidden(model, impl, **inputs, **given) for impl in ("eager", "attnmask"))
        assert error(ours, eager) < TOLERANCE


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "distilbert", "modernbert", "mpnet"])
def test_attention_weights_are_refused_not_silently_left_out(name: str) -> None:
    model = tiny(name)
    with pytest.raises(UnsupportedModelError, match="output_attentions=True needs the attention weights"):
        hidden(model, "attnmask", **batch(), output_attentions=True)
    hidden(model, "attnmask", **batch(), output_hidden_states=True)


@pytest.mark.parametrize("name", ["bert", "mpnet", "gpt2", "distilbert"])
def test_dropout_in_training_drops_as_many_weights_as_eager_attention(name: str) -> None:
    model, inputs = tiny(name).train(), batch("right", lengths=(20, 13))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and module is not getattr(module, "dropout", None):
            module.p = 0.0
    _set_attention_dropout(model, 0.4)
    mask = inputs["attention_mask"].bool()
    spread = {}
    for implementation in ("eager", "attnmask"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            torch.manual_seed(0)
            outs = torch.stack([model(**inputs).last_hidden_state[mask] for _ in range(200)])
            torch.manual_seed(0)
            assert torch.equal(model(**inputs).last_hidden_state[mask], outs[0])
        spread[implementation] = outs.mean(0), outs.std(0)
    for got, want in zip(spread["attnmask"], spread["eager"], strict=True):
        assert float((got - want).norm() / want.norm()) < 0.15
    assert float(spread["attnmask"][1].mean()) > 0.05


def _set_attention_dropout(model: tf.PreTrainedModel, share: float) -> None:
    for module in model.modules():
        if type(module).__name__.endswith("Attention") and hasattr(module, "dropout"):
            module.dropout = share if isinstance(module.dropout, float) else torch.nn.Dropout(share)
        if hasattr(module, "attn_dropout"):
            module.attn_dropout = torch.nn.Dropout(share)
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = share


CHANGED = {
    "softcap": lambda: tf.Gemma2Config(**_small(), head_dim=8, attn_logit_softcapping=5.0, sliding_window=8),
    "sinks": lambda: tf.GptOssConfig(
        **_small(), head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=8
    ),
    "a bias": lambda: tf.T5Config(vocab_size=50, d_model=32, d_kv=8, num_heads=4, d_ff=64, num_layers=2),
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", CHANGED)
def test_what_changes_the_scores_is_followed(name: str, side: str) -> None:
    torch.manual_seed(0)
    model = tf.AutoModel.from_config(CHANGED[name](), attn_implementation="eager").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = {key: x % 50 for key, x in batch(side, lengths=(20, 13)).items()}
    if isinstance(model, tf.T5Model):
        inputs["decoder_input_ids"] = inputs["input_ids"][:, 3:12]
    mask = None if "decoder_input_ids" in inputs else inputs["attention_mask"]
    eager, ours = (hidden(model, implementation, **inputs) for implementation in ("eager", "attnmask"))
    assert error(ours, eager, mask) < 4 * TOLERANCE
    grads = [_gradients_of(model, implementation, inputs) for implementation in ("eager", "attnmask")]
    for parameter, grad in grads[0].items():
        assert float((grads[1][parameter] - grad).norm()) <= 1e-4 * float(grad.norm()) + 1e-6, parameter


def _gradients_of(model: tf.PreTrainedModel, implementation: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    model.set_attn_implementation(implementation)
    model.zero_grad()
    out = model(**inputs).last_hidden_state
    (out[inputs["attention_mask"].bool()] if out.shape[1] == 20 else out).pow(2).mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_an_argument_that_nobody_here_knows_is_refused_by_name() -> None:
    model = tiny("llama")
    module = model.layers[0].self_attn
    x = torch.randn(1, 4, 3, 8)
    forward = tf.modeling_utils.ALL_ATTENTION_FUNCTIONS["attnmask"]
    with pytest.raises(UnsupportedModelError, match=r"a paged cache \(cache\)"):
        forward(module, x, x, x, None, cache=object())


def test_a_model_that_adds_the_mask_itself_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match="adds the mask to its scores itself"):
        torch.ones(1, 1, 3, 3) + ModelMask.of(am.compile(am.full(), q=3))


# Where eager attention takes the softmax in float32, that is what the difference is made of.
@pytest.mark.parametrize(
    ("name", "tolerance"), [("bert", 1e-11), ("mpnet", 1e-11), ("gpt2", 1e-11), ("llama", 1e-5), ("modernbert", 1e-5)]
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_eager_attention(name: str, tolerance: float, checkpointing: bool) -> None:
    # Lengths that leave no row without a key: there eager attention in float64 has gradients of NaN.
    model, inputs = tiny(name).double(), batch("right", lengths=(20, 14))
    if checkpointing and model.supports_gradient_checkpointing:
        _without_dropout(model).activation_checkpointing_enable()
        model.train()
    eager, ours = (_gradients(model, implementation, inputs) for implementation in ("eager", "attnmask"))
    assert eager.keys() == ours.keys()
    for parameter, grad in eager.items():
        assert float((ours[parameter] - grad).norm()) <= tolerance * float(grad.norm()) + 1e-12, parameter


def _without_dropout(model: tf.PreTrainedModel) -> tf.PreTrainedModel:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def _gradients(model: tf.PreTrainedModel, implementation: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    model.config._attn_implementation = implementation
    model.zero_grad()
    am.hf.pool(model(**inputs).last_hidden_state, inputs["attention_mask"]).pow(3).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_nothing_that_stands_at_padding_reaches_a_real_token() -> None:
    for name in ("bert", "mpnet", "modernbert", "distilbert", "llama"):
        model, inputs = tiny(name), batch("left")
        mask = inputs["attention_mask"].bool()
        embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
        clean = hidden(model, "eager", inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
        embeds[~mask] = torch.nan
        spoilt = hidden(model, "attnmask", inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
        assert error(spoilt, clean, mask) < TOLERANCE, name


def test_registering_again_changes_nothing() -> None:
    before = tf.models.mpnet.modeling_mpnet.MPNetSelfAttention.forward
    am.hf.register()
    assert tf.models.mpnet.modeling_mpnet.MPNetSelfAttention.forward is before


def test_a_model_is_put_back_part_by_part() -> None:
    model = am.hf.tiny_model("llava")
    model.set_attn_implementation({"": "sdpa", "vision_config": "eager", "text_config": "sdpa"})
    with under_attnmask(model):
        assert model.config.vision_config._attn_implementation == "attnmask"
    parts = model.config, model.config.vision_config, model.config.text_config
    assert [part._attn_implementation for part in parts] == ["sdpa", "eager", "sdpa"]


def test_mpnet_is_left_alone_under_other_implementations() -> None:
    model = tiny("mpnet")
    assert len(model(**batch(), output_attentions=True).attentions) == 3
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("name", ENCODERS)
def test_the_same_plan_serves_all_layers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[am.Plan] = []
    module = mpnet if name == "mpnet" else interface
    function = "attention_with_bias" if name == "mpnet" else "attention"
    original = getattr(module, function)

    def spy(q: Tensor, k: Tensor, v: Tensor, mask: Any, *rest: Any, **named: Any) -> Tensor:
        seen.append(getattr(mask, "plan", mask))
        return original(q, k, v, mask, *rest, **named)

    monkeypatch.setattr(module, function, spy)
    hidden(tiny(name), "attnmask", **batch())
    assert len(seen) == 3
    assert len({id(plan) for plan in seen}) == (2 if name == "modernbert" else 1)


def _small() -> dict[str, Any]:
    return {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_an_unknown_mask_function_is_followed_with_one_warning_a_call(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_every_third(b: Any, h: Any, q: Any, k: Any) -> Any:
        return (k % 3 != 1) | (k == q)

    model, inputs = tiny(name), batch("right", lengths=(20, 13))
    module = sys.modules[type(model).__module__]
    function = "create_causal_mask" if name == "llama" else "create_bidirectional_mask"
    plain = hidden(model, "eager", **inputs)
    monkeypatch.setattr(module, function, partial(getattr(module, function), and_mask_function=not_every_third))
    eager = hidden(model, "eager", **inputs)
    assert error(eager, plain, inputs["attention_mask"]) > NOTICED
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ours = hidden(model, "attnmask", **inputs)
        assert [each.category for each in caught] == [am.hf.UnknownMaskWarning]
        assert error(ours, eager, inputs["attention_mask"]) < TOLERANCE


# Inductor needs a C++ compiler and a minute; what is compiled and what is not is decided before.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert", "llama", "mistral"])
def test_a_compiled_model_gives_the_same(name: str) -> None:
    model, inputs = tiny(name), batch("left")
    eager = hidden(model, "eager", **inputs)
    model.set_attn_implementation("attnmask")
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    ours = compiled(**inputs).last_hidden_state.detach()
    assert error(ours, eager, inputs["attention_mask"]) < TOLERANCE
    found: list[dict[str, Tensor]] = []
    for run in (model, compiled):
        model.zero_grad()
        am.hf.pool(run(**inputs).last_hidden_state, inputs["attention_mask"]).pow(3).sum().backward()
        found.append({each: p.grad.clone() for each, p in model.named_parameters() if p.grad is not None})
    want, got = found
    assert want.keys() == got.keys()
    most = max(float(grad.norm()) for grad in want.values())
    assert all(float((got[each] - grad).norm()) <= 1e-5 * most for each, grad in want.items())


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_compiling_writes_out_no_mask(name: str) -> None:
    model, inputs = tiny(name), batch("left")
    model.set_attn_implementation("attnmask")
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager")
    weights = torch.linspace(0, 3, 20)
    for _ in range(2):
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("error", am.hf.MaterializedMaskWarning)
            compiled(**inputs)
            with am.hf.weighted(model, weights):
                got, want = (run(**inputs).last_hidden_state for run in (compiled, model))
        assert error(got, want, inputs["attention_mask"]) < TOLERANCE


def test_others_are_compiled_in_one_piece_as_ever() -> None:
    model, inputs = tiny("llama"), batch()
    model.set_attn_implementation("sdpa")
    torch.compiler.reset()
    with torch.no_grad():
        whole = torch.compile(model, backend="eager", fullgraph=True)(**inputs).last_hidden_state
        assert torch.equal(whole, model(**inputs).last_hidden_state)
