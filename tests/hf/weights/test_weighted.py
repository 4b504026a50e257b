"""Weights of tokens inside whole models: 0 masks, 1 changes nothing, n is the token n times at one position."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from tests.hf.packing.test_packed_training import model_of
from tests.hf.small_models import batch

HEADS: dict[str, tuple[str, Any]] = {
    "masked-LM": ("bert", tf.AutoModelForMaskedLM),
    "classification": ("roberta", tf.AutoModelForSequenceClassification),
    "embeddings": ("modernbert", tf.AutoModel),
    "causal-LM": ("llama", tf.AutoModelForCausalLM),
    "biased": ("mpnet", tf.AutoModel),
}
COPIES = (1, 1, 3, 1, 2, 1, 1)


def _out(model: tf.PreTrainedModel, **inputs: Any) -> Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def _head(name: str) -> tf.PreTrainedModel:
    return model_of(*HEADS[name], attention_dropout=0.0, classifier_dropout=0.0).eval()


@pytest.mark.parametrize("name", HEADS)
def test_weights_of_one_change_nothing_and_of_zero_mask(name: str) -> None:
    model, inputs = _head(name), batch("right", lengths=(9, 6))
    model.set_attn_implementation("attnmask")
    plain = _out(model, **inputs)
    weights = torch.ones(2, 9)
    with am.hf.weighted(model, weights):
        assert torch.equal(_out(model, **inputs), plain)
    weights[:, 3] = 0
    without = {**inputs, "attention_mask": inputs["attention_mask"] * (weights > 0)}
    kept = slice(None) if plain.ndim == 2 else (slice(None), [0, 1, 2, 4, 5])
    with am.hf.weighted(model, weights):
        torch.testing.assert_close(_out(model, **inputs)[kept], _out(model, **without)[kept], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(_out(model, **inputs)[kept], plain[kept], rtol=1e-3)


@pytest.mark.parametrize("name", ["masked-LM", "classification", "causal-LM"])
def test_a_whole_weight_is_the_token_so_many_times_at_one_position(name: str) -> None:
    model, ids = _head(name), batch("right", lengths=(7,))["input_ids"]
    first = am.hf.first_position(model)
    repeated = torch.tensor([at for at, copies in enumerate(COPIES) for _ in range(copies)])
    inputs: dict[str, Any] = {"input_ids": ids[:, repeated], "position_ids": (repeated + first)[None]}
    # Copies stand at one position, so under a causal mask they see each other.
    attends = repeated[None, :] <= repeated[:, None] if name == "causal-LM" else torch.ones(10, 10, dtype=torch.bool)
    inputs["attention_mask"] = torch.where(attends, 0.0, torch.finfo(torch.float32).min)[None, None].double()
    model.set_attn_implementation("eager")
    want = _out(model, **inputs)
    with am.hf.weighted(model, torch.tensor([COPIES], dtype=torch.float64)):
        got = _out(model, input_ids=ids)
    tolerance = 1e-5 if name == "causal-LM" else 1e-9
    firsts = [list(repeated).index(at) for at in range(7)]
    torch.testing.assert_close(got, want if want.ndim == 2 else want[:, firsts], rtol=tolerance, atol=tolerance)


def test_the_weight_moves_what_minilm_says_of_a_text(minilm: tuple[Any, Any]) -> None:
    model, tokenizer = minilm
    texts = ["the bank of the river was green", "the bank gave her a loan"]
    own = [tokenizer(text, return_tensors="pt") for text in texts]
    at = own[0]["input_ids"][0].tolist().index(tokenizer.convert_tokens_to_ids("river"))

    def similarity(weight: float) -> float:
        weights = torch.ones(own[0]["input_ids"].shape)
        weights[0, at] = weight
        with torch.no_grad(), am.hf.weighted(model, weights):
            one = model(**own[0]).last_hidden_state.mean(1)
        with torch.no_grad():
            return float(torch.cosine_similarity(one, model(**own[1]).last_hidden_state.mean(1)))

    found = [similarity(weight) for weight in (0.0, 0.5, 1.0, 2.0, 4.0)]
    # The more the river counts, the less the text is about money.
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 0.05
    assert model.config._attn_implementation == "eager"


def test_gradients_reach_the_weights() -> None:
    model, inputs = _head("masked-LM"), batch("left", lengths=(9, 6))
    weights = torch.full((2, 9), 1.3, dtype=torch.float64, requires_grad=True)

    def loss(weights: Tensor) -> Tensor:
        with am.hf.weighted(model, weights):
            return model(**inputs)[0][inputs["attention_mask"].bool()].pow(2).mean()

    (grad,) = torch.autograd.grad(loss(weights), weights)
    assert float(grad[1, :3].abs().max()) == 0
    step = torch.zeros(2, 9, dtype=torch.float64)
    step[0, 4] = 1e-4
    with torch.no_grad():
        slope = (loss(weights + step) - loss(weights - step)) / 2e-4
    assert abs(float(grad[0, 4] - slope)) < 1e-3 * abs(float(slope))


def test_generated_tokens_weigh_one() -> None:
    model = model_of("llama").float().eval()
    ids = start = batch("right", lengths=(9,))["input_ids"]
    weights = torch.tensor([[1.0, 1, 0, 0, 4, 1, 1, 1, 1]])
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    with am.hf.weighted(model, weights):
        got = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    for _ in range(6):
        with am.hf.weighted(model, torch.nn.functional.pad(weights, (0, ids.shape[1] - 9), value=1.0)):
            ids = torch.cat([ids, _out(model, input_ids=ids)[:, -1:].argmax(-1)], 1)
    assert got.tolist() == ids.tolist()
    assert got.tolist() != model.generate(start, attention_mask=torch.ones_like(start), **options).tolist()


def test_a_batch_may_hold_weights() -> None:
    model, inputs = _head("masked-LM"), batch("right", lengths=(9, 6))
    weights = torch.linspace(0, 3, 18).reshape(2, 9)
    with am.hf.weighted(model, weights):
        want = _out(model, **inputs)
    plain = _out(model, **inputs)
    undo = am.hf.accept_weights(model)
    assert torch.equal(_out(model, **inputs, weights=weights), want)
    torch.testing.assert_close(_out(model, **inputs), plain)
    for wrong, match in (
        (weights.repeat(3, 1), r"shape \(6, 9\), the batch 2"),
        (weights[:, :5], "of 5 tokens, the text"),
    ):
        with pytest.raises(ArgumentError, match=match):
            _out(model, **inputs, weights=wrong)
    torch.testing.assert_close(_out(model, **inputs), plain)
    undo.close()
    with pytest.raises(UnsupportedModelError, match="weights in its batch"):
        _out(model, **inputs, weights=weights)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (torch.ones(2, 9, dtype=torch.long), r"weights are \(2, 9\) torch.int64"),
        ("heavy", "weights are"),
        ([[1.0], [1.0, 2.0]], "weights are list, no array"),
        ([1.0], "weights are of 1 tokens, the text has 9"),
        (torch.full((2, 9), torch.nan), r"weights\[0, 0\] is nan"),
        (torch.full((2, 9), -1.0), r"weights\[0, 0\] is -1"),
    ],
)
def test_bad_weights(weights: Any, match: str) -> None:
    model, inputs = _head("masked-LM"), batch("right", lengths=(9, 6))
    with pytest.raises(ArgumentError, match=match), am.hf.weighted(model, weights):
        _out(model, **inputs)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (torch.ones(2, 5), "weights are of 5 tokens, the text has 9"),
        (torch.ones(14), "weights are of 14 tokens, the model was run on 9"),
        (torch.ones(3, 9), r"weights have shape \(3, 9\), the batch 2 texts"),
    ],
)
def test_weights_of_another_length_are_neither_filled_nor_cut(weights: Tensor, match: str) -> None:
    model, inputs = _head("masked-LM"), batch("right", lengths=(9, 6))
    with pytest.raises(ArgumentError, match=match), am.hf.weighted(model, weights):
        _out(model, **inputs)


def test_beams_are_weighted_as_their_text_is() -> None:
    model, inputs = model_of("llama").float().eval(), batch("right", lengths=(9, 9))
    weights = torch.tensor([[1.0, 1, 0, 0, 4, 1, 1, 1, 1], [1, 3, 1, 1, 0, 1, 1, 2, 1]])
    options: dict[str, Any] = {"max_new_tokens": 6, "num_beams": 3, "pad_token_id": 1, "eos_token_id": None}
    with pytest.raises(ArgumentError, match="the batch 6 texts") as caught, am.hf.weighted(model, weights):
        model.generate(**inputs, **options)
    assert "weights.repeat_interleave(n, 0)" in caught.value.fix
    with am.hf.weighted(model, weights.repeat_interleave(3, 0)):
        together = model.generate(**inputs, **options)
    for row in range(2):
        with am.hf.weighted(model, weights[row]):
            alone = model.generate(**{name: x[row : row + 1] for name, x in inputs.items()}, **options)
        assert alone[0].tolist() == together[row].tolist()


def test_weights_of_tokens_are_not_those_of_an_encoders_states() -> None:
    model, ids = model_of("bert", tf.AutoModel, is_decoder=True, add_cross_attention=True).eval(), torch.arange(5, 14)
    weights, states = torch.ones(9), torch.randn(1, 9, 32, dtype=torch.float64)
    with pytest.raises(UnsupportedModelError, match="encoder's states"), am.hf.weighted(model, weights):
        _out(model, input_ids=ids[None], encoder_hidden_states=states)
    am.hf.accept_weights(model)
    with pytest.raises(UnsupportedModelError, match="encoder's states"):
        _out(model, input_ids=ids[None], encoder_hidden_states=states, weights=weights)
    _out(model, input_ids=ids[None], weights=weights)


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_the_encoder_of_an_encoder_decoder_can_be_weighted_and_its_decoder_is_not(name: str) -> None:
    model, inputs = am.hf.tiny_model(name), batch("right", lengths=(9, 9))
    inputs["input_ids"] %= 100
    inputs["decoder_input_ids"] = inputs["input_ids"].flip(1)
    encoder, weights = model.get_encoder(), torch.ones(9)
    weights[3] = 0
    masked = {"attention_mask": inputs["attention_mask"] * (weights > 0)}
    model.set_attn_implementation("attnmask")
    with torch.no_grad():
        plain = model(**inputs).last_hidden_state
        want = encoder(inputs["input_ids"], **masked).last_hidden_state
        with am.hf.weighted(encoder, weights):
            got = encoder(input_ids=inputs["input_ids"]).last_hidden_state
            # Inside, the encoder's tokens alone are weighted.
            states = tf.modeling_outputs.BaseModelOutput(encoder(inputs["input_ids"]).last_hidden_state)
            inside = model(decoder_input_ids=inputs["decoder_input_ids"], encoder_outputs=states).last_hidden_state
        outside = model(decoder_input_ids=inputs["decoder_input_ids"], encoder_outputs=states).last_hidden_state
    torch.testing.assert_close(got, want)
    assert torch.equal(inside, outside)
    assert not torch.allclose(inside, plain)


def test_weights_of_tokens_are_not_those_of_a_picture() -> None:
    small = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64}
    text = {**small, "vocab_size": 100, "num_key_value_heads": 2, "head_dim": 8}
    picture = {**small, "image_size": 16, "patch_size": 4}
    config = tf.Gemma3Config(text_config=text, vision_config=picture, mm_tokens_per_image=4, image_token_index=99)
    torch.manual_seed(0)
    model = tf.Gemma3ForConditionalGeneration._from_config(config, attn_implementation="attnmask").eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(5, 90, (1, 16))  # as many tokens as the picture has patches
    ids[0, 4:8] = 99
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 16, 16), "token_type_ids": (ids == 99).long()}
    weights = torch.ones(16)
    weights[2] = 0
    want = _out(model, **inputs, attention_mask=(weights > 0).long()[None])
    with am.hf.weighted(model, weights):
        got = _out(model, **inputs)
    torch.testing.assert_close(got[:, weights > 0], want[:, weights > 0])
    assert not torch.allclose(got, _out(model, **inputs))


def test_another_model_inside_is_left_alone() -> None:
    model, other = _head("masked-LM"), _head("masked-LM")
    inputs = batch("right", lengths=(9, 6))
    other.set_attn_implementation("attnmask")
    plain = _out(other, **inputs)
    with am.hf.weighted(model, torch.linspace(0, 3, 9)):
        assert torch.equal(_out(other, **inputs), plain)
        assert not torch.allclose(_out(model, **inputs), plain)


def test_threads_weigh_one_model_each_in_its_own_way() -> None:
    model, inputs = _head("masked-LM"), batch("right", lengths=(9, 6))
    entered, both, over = Event(), Event(), Event()

    def first() -> Tensor:
        with am.hf.weighted(model, torch.linspace(0, 3, 9)):
            entered.set()
            assert both.wait(10)
            found = _out(model, **inputs)
        over.set()
        return found

    def second() -> Tensor:
        assert entered.wait(10)
        with am.hf.weighted(model, torch.linspace(3, 0, 9)):
            both.set()
            assert over.wait(10)  # the first has left, and the model is still ours
            return _out(model, **inputs)

    with ThreadPoolExecutor(2) as pool:
        together = [future.result() for future in [pool.submit(first), pool.submit(second)]]
    assert model.config._attn_implementation == "eager"
    for weights, got in zip((torch.linspace(0, 3, 9), torch.linspace(3, 0, 9)), together, strict=True):
        with am.hf.weighted(model, weights):
            assert torch.equal(_out(model, **inputs), got)


def test_batches_of_several_threads_may_hold_weights() -> None:
    model, inputs = _head("masked-LM"), batch("right", lengths=(9, 6))
    am.hf.accept_weights(model)
    several = [torch.linspace(0, 1 + n, 18).reshape(2, 9) for n in range(4)]
    want = [_out(model, **inputs, weights=weights) for weights in several]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            got = pool.map(lambda weights: _out(model, **inputs, weights=weights), several)
            assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))


def test_models_that_cannot_be_weighted_say_so() -> None:
    t5 = am.hf.tiny_model("t5")
    with pytest.raises(UnsupportedModelError, match="reads two texts"), am.hf.weighted(t5, torch.ones(1, 3)):
        pass
    mamba = am.hf.tiny_model("fnet")
    ids = torch.randint(5, 50, (1, 4))
    with pytest.raises((UnsupportedModelError, ValueError)), am.hf.weighted(mamba, torch.ones(1, 4)):
        mamba(input_ids=ids)
