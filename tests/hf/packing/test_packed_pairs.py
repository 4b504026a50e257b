"""Encoder-decoders on packed rows: loss and gradients of the padded step, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

import attnmask as am
from attnmask.errors import ArgumentError, AttnMaskError, UnsupportedModelError

PAD, START = 1, 2
SIZES: dict[str, Any] = {"vocab_size": 120, "pad_token_id": PAD, "decoder_start_token_id": START, "dropout": 0.0}
OF_BART: dict[str, Any] = {
    **SIZES, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 24,
    "attention_dropout": 0.0, "activation_dropout": 0.0,
}  # fmt: skip
OF_T5: dict[str, Any] = {**SIZES, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
OF_T5.pop("dropout")
OF_T5["dropout_rate"] = 0.0
CONFIGS: dict[str, Any] = {
    "bart": lambda: tf.BartConfig(**OF_BART),
    "bart-scaled-untied": lambda: tf.BartConfig(**OF_BART, scale_embedding=True, tie_word_embeddings=False),
    "t5": lambda: tf.T5Config(**OF_T5),
    "t5-few-buckets-gated": lambda: tf.T5Config(
        **OF_T5, relative_attention_num_buckets=4, relative_attention_max_distance=6, feed_forward_proj="gated-gelu"
    ),
    "umt5": lambda: tf.UMT5Config(**OF_T5),
    "marian": lambda: tf.MarianConfig(**OF_BART),
    "marian-scaled": lambda: tf.MarianConfig(**OF_BART, scale_embedding=True, normalize_before=True),
    "pegasus": lambda: tf.PegasusConfig(**OF_BART),
    "mbart": lambda: tf.MBartConfig(**OF_BART),
    "blenderbot": lambda: tf.BlenderbotConfig(**OF_BART),
}
# Texts longer than what fills a row with others, decoder texts longer and shorter than their own encoder's.
LENGTHS = ((20, 3), (9, 14), (1, 1), (13, 18), (6, 2), (4, 9))


class Tokens:
    """All of a tokenizer that packing asks for."""

    pad_token_id = PAD


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    config = CONFIGS[name]()
    config._attn_implementation = "eager"
    model = tf.AutoModelForSeq2SeqLM.from_config(config).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.train()


def examples(seed: int = 0) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    texts = [
        {
            "input_ids": torch.randint(5, 120, (own,), generator=generator).tolist(),
            "labels": torch.randint(5, 120, (other,), generator=generator).tolist(),
        }
        for own, other in LENGTHS
    ]
    texts[3]["labels"][4:6] = [-100, -100]
    return texts


def padded(texts: list[dict[str, Any]]) -> dict[str, Tensor]:
    def rows(lists: list[list[int]], fill: int) -> Tensor:
        most = max(map(len, lists))
        return torch.tensor([[*each, *[fill] * (most - len(each))] for each in lists])

    ids = rows([text["input_ids"] for text in texts], PAD)
    mask = rows([[1] * len(text["input_ids"]) for text in texts], 0)
    return {"input_ids": ids, "attention_mask": mask, "labels": rows([text["labels"] for text in texts], -100)}


def step(model: Any, implementation: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    model.set_attn_implementation(implementation)
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}}


def furthest(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() == want.keys()
    least = 1e-3 * max(float(x.norm()) for x in want.values())
    return max(float((got[name] - want[name]).norm()) / max(float(want[name].norm()), least) for name in want)


@pytest.mark.parametrize("order", ["first-fit-decreasing", "arrival", "apart"])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_loss_and_every_gradient_are_those_of_the_padded_step(name: str, order: str) -> None:
    model, texts = model_of(name), examples()
    want = [step(model, "eager", padded([text])) for text in texts]
    counts = [sum(label != -100 for label in text["labels"]) for text in texts]
    total = {key: sum(part[key] * n for part, n in zip(want, counts, strict=True)) / sum(counts) for key in want[0]}
    batch = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24, order=order)(texts)
    assert len(batch["input_ids"]) == (6 if order == "apart" else len(batch["decoder_input_ids"])) <= 6
    got = step(model, "attnmask", batch)
    # T5 takes its softmax in float32, whatever it is given.
    assert furthest(got, total) < (2e-5 if "t5" in name else 1e-10)
    again = step(model, "eager", padded(texts))
    assert furthest(again, total) < (2e-5 if "t5" in name else 1e-10)


@pytest.mark.parametrize("name", ["bart", "t5", "marian"])
def test_what_one_text_says_changes_no_other(name: str) -> None:
    model, texts = model_of(name).eval(), examples()
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=40)
    model.set_attn_implementation("attnmask")
    other = [*texts]
    other[1] = {"input_ids": [7] * 9, "labels": [8] * 14}
    with torch.no_grad():
        was, now = (model(**collate(each)).logits.flatten(0, 1) for each in (texts, other))
    places = collate(texts)["decoder_attention_mask"].documents.places()
    own = torch.arange(len(places)).sub(3).clamp(min=-1) < 14
    own &= torch.arange(len(places)) >= 3
    same = torch.from_numpy(places)[~own]
    assert torch.equal(was[same], now[same])
    assert not torch.equal(was, now)


@pytest.mark.parametrize("name", ["led", "longt5", "bigbird_pegasus", "switch_transformers", "m2m_100"])
def test_models_that_are_not_exact_are_refused_by_name(name: str) -> None:
    model = am.hf.tiny_model(name)
    with pytest.raises(UnsupportedModelError, match=type(model).__name__):
        am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24)


def test_a_collator_that_was_not_made_for_the_model_is_refused() -> None:
    model, other = model_of("bart").eval(), model_of("bart").eval()
    batch = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24)(examples())
    plain = am.hf.PackingCollator(Tokens(), row_tokens=24, task="embedding")([{"input_ids": [5, 6]}] * 2)
    for each in (model, other):
        each.set_attn_implementation("attnmask")
    with pytest.raises(ArgumentError, match="not prepared for packed rows"):
        other(**batch)
    model(**batch)
    plain["decoder_input_ids"] = plain["input_ids"]
    del plain["position_ids"]
    with pytest.raises(ArgumentError, match="no layout of the decoder"):
        model(**plain)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": None}, "it has no labels"),
        ({"labels": []}, "it has 0 tokens"),
        ({"labels": [5] * 25}, "it has 25 tokens, a row has 24"),
        ({"decoder_input_ids": [2, 5]}, "its labels are not one a token"),
        ({"weights": [1.0] * 2}, "it has weights, which cannot be packed"),
        ({"decoder_attention_mask": [1, 0, 1]}, "it is padded"),
        ({"input_ids": [5, 120]}, r"its input_ids\[1\] is 120"),
        ({"token_type_ids": [0, 1]}, "the model takes none"),
    ],
)
def test_examples_that_do_not_fit(change: dict[str, Any], match: str) -> None:
    example = {"input_ids": [5, 6], "labels": [7, 8, 9], **change}
    example = {name: value for name, value in example.items() if value is not None}
    collate = am.hf.PackingCollator.for_model(model_of("bart"), Tokens(), row_tokens=24)
    with pytest.raises(AttnMaskError, match=match):
        collate([example])


def test_what_the_decoder_is_given_is_taken_as_it_is() -> None:
    collate = am.hf.PackingCollator.for_model(model_of("t5"), Tokens(), row_tokens=24, order="apart")
    texts = [{"input_ids": [5, 6], "labels": [7, 8, 9]}, {"input_ids": [5], "labels": [4]}]
    assert collate(texts)["decoder_input_ids"].tolist() == [[START, 7, 8], [START, PAD, PAD]]
    own = [{**text, "decoder_input_ids": [9, *text["labels"][:-1]]} for text in texts]
    assert collate(own)["decoder_input_ids"].tolist() == [[9, 7, 8], [9, PAD, PAD]]


def test_other_tasks_of_an_encoder_decoder_are_refused() -> None:
    for name, task in (("bart", "masked-lm"), ("t5", "classification")):
        with pytest.raises(UnsupportedModelError, match="is an encoder-decoder, the task"):
            am.hf.PackingCollator.for_model(model_of(name), Tokens(), row_tokens=24, task=task)
    with pytest.raises(UnsupportedModelError, match="is no encoder-decoder"):
        am.hf.PackingCollator.for_model(am.hf.tiny_model("bert"), Tokens(), row_tokens=24, task="seq2seq")


def test_a_trainer_predicts_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    model = model_of("bart").float()
    texts, arguments = examples(), tf.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True)
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24, order="apart")
    model.set_attn_implementation("attnmask")
    output = tf.Trainer(model, arguments, data_collator=collate).predict(texts)  # pyright: ignore
    model.set_attn_implementation("eager")
    for at, text in enumerate(texts):
        with torch.no_grad():
            want = model(**padded([text])).logits[0]
        torch.testing.assert_close(torch.from_numpy(output.predictions[0][at, : len(want)]), want, rtol=1e-4, atol=1e-4)
