"""Training on packed rows: the loss and the gradients of the same texts in a padded batch."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import Tensor
from torch.utils.data import DataLoader

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.packing.row_packing import RowOrder, pack
from tests.hf.small_models import CONFIGS, LENGTHS, SCORED, SMALL, VOCABULARY

# Lengths that leave no row of a window without a key: there eager attention in float64 has gradients of NaN.
FILLED = (20, 14, 13, 15)
NAMES = ("bert", "roberta", "llama", "mistral")
KINDS: dict[str, Any] = {
    "bert": tf.AutoModelForMaskedLM,
    "roberta": tf.AutoModelForMaskedLM,
    "llama": tf.AutoModelForCausalLM,
    "mistral": tf.AutoModelForCausalLM,
}


class Tokens:
    """All of a tokenizer that packing asks for."""

    pad_token_id = 1


def model_of(name: str, kind: Any = None, seed: int = 0, **changes: Any) -> tf.PreTrainedModel:
    torch.manual_seed(seed)
    config = {**CONFIGS, **SCORED}[name]()
    for key, value in {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **changes}.items():
        setattr(config, key, value)
    config._attn_implementation = "eager"
    model = (kind or KINDS[name]).from_config(config).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.train()


def examples(lengths: tuple[int, ...] = LENGTHS, seed: int = 0, labels: str = "") -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(5, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    if not labels:
        return [{"input_ids": text} for text in texts]
    if labels == "classes":
        return [{"input_ids": text, "labels": number % 3} for number, text in enumerate(texts)]
    # Every third token is one to predict.
    return [
        {"input_ids": text, "labels": [token if at % 3 == 0 else -100 for at, token in enumerate(text)]}
        for text in texts
    ]


def padded(texts: list[dict[str, Any]], first: int) -> dict[str, Tensor]:
    most = max(len(text["input_ids"]) for text in texts)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": [], "position_ids": []}
    for text in texts:
        ids, fill = text["input_ids"], most - len(text["input_ids"])
        rows["input_ids"].append([*ids, *[1] * fill])
        rows["attention_mask"].append([1] * len(ids) + [0] * fill)
        rows["labels"].append([*text.get("labels", ids), *[-100] * fill])
        rows["position_ids"].append([*range(first, first + len(ids)), *[first] * fill])
    return {name: torch.tensor(row) for name, row in rows.items()}


def step(model: tf.PreTrainedModel, implementation: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    model.set_attn_implementation(implementation)
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}}


def furthest(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    assert got.keys() == want.keys()
    # The gradient of a key's bias is 0 but for rounding.
    least = 1e-3 * max(float(x.norm()) for x in want.values())
    return max(float((got[name] - want[name]).norm()) / max(float(want[name].norm()), least) for name in want)


@pytest.mark.parametrize("order", list(RowOrder))
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_every_gradient_are_those_of_the_padded_step(name: str, order: str) -> None:
    model = model_of(name)
    texts = examples(FILLED, labels="some" if "bert" in name else "")
    first = am.hf.first_position(model)
    task = "masked-lm" if "bert" in name else "causal-lm"
    batch = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=36, order=order, task=task)(texts)
    assert (batch["input_ids"].shape[0] < len(texts)) == (order != "apart")
    want = step(model, "eager", padded(texts, first))
    got = step(model, "attnmask", batch)
    # Where eager attention takes the softmax in float32, that is what the difference is made of.
    assert furthest(got, want) < (2e-5 if name in ("llama", "mistral") else 1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_what_one_text_says_changes_no_other(name: str) -> None:
    model = model_of(name).eval()
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=41)
    model.set_attn_implementation("attnmask")
    texts = examples()
    before = collate(texts)
    changed = before["input_ids"].clone()
    changed[0, :20] = 7
    with torch.no_grad():
        was, now = (model(**{**before, "input_ids": ids}).logits for ids in (before["input_ids"], changed))
    assert not torch.equal(was[0, :20], now[0, :20])
    assert torch.equal(was[0, 20:], now[0, 20:])


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "mpnet", "modernbert"])
def test_a_head_sees_every_document(name: str) -> None:
    changes = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0, "classifier_dropout": 0.0}
    model = model_of(name, tf.AutoModelForSequenceClassification, num_labels=3, **changes)
    texts = examples(FILLED, labels="classes")
    want_batch = padded([{"input_ids": text["input_ids"]} for text in texts], am.hf.first_position(model))
    want_batch["labels"] = torch.tensor([text["labels"] for text in texts])
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=36, task="classification", order="arrival")
    batch = collate(texts)
    if name in ("distilbert", "modernbert"):
        del want_batch["position_ids"]
    want = step(model, "eager", want_batch)
    undo = am.hf.heads_by_document(model)
    got = step(model, "attnmask", batch)
    assert furthest(got, want) < (2e-5 if name == "modernbert" else 1e-11)
    again = step(model, "eager", want_batch)
    assert furthest(again, want) == 0
    undo.remove()
    with pytest.raises(ArgumentError, match="a label for each of 4 documents"):
        step(model, "attnmask", batch)


def test_pooling_of_packed_texts_is_that_of_each() -> None:
    collate = am.hf.PackingCollator(Tokens(), row_tokens=24, task="embedding")
    batch = collate([{**text, "weights": [2.0] * len(text["input_ids"])} for text in examples()])
    hidden = batch["input_ids"].double()[..., None]
    layout = batch["attention_mask"].documents
    texts = [
        hidden[row, at : at + size] for row, at, size in zip(layout.rows, layout.starts, layout.lengths, strict=True)
    ]
    for how, expected in (("mean", [x.mean(0) for x in texts]), ("last", [x[-1] for x in texts])):
        torch.testing.assert_close(am.hf.pool(hidden, batch["attention_mask"], how), torch.stack(expected))


def test_any_other_attention_refuses_packed_rows() -> None:
    batch = am.hf.PackingCollator(Tokens(), row_tokens=24)(examples())
    for name in NAMES:
        model = model_of(name).eval()
        for other in ("sdpa", "eager"):
            model.set_attn_implementation(other)
            with pytest.raises(UnsupportedModelError, match="would lose the documents"):
                model(**{key: value for key, value in batch.items() if key != "labels"})


def test_a_packed_mask_survives_what_training_does_to_it() -> None:
    mask = am.hf.PackingCollator(Tokens(), row_tokens=24)(examples())["attention_mask"]
    for copy in (pickle.loads(pickle.dumps(mask)), mask.to("cpu"), mask.bool(), mask.clone(), mask.to(torch.float32)):
        assert copy.plan == mask.plan
    assert int(mask.sum()) == sum(LENGTHS)
    loader = DataLoader(
        examples(), batch_size=4, collate_fn=am.hf.PackingCollator(Tokens(), row_tokens=24), num_workers=1
    )
    (batch,) = loader
    assert batch["attention_mask"].plan == mask.plan


MOST_ROWS = {"first-fit-decreasing": 84, "arrival": 120, "apart": 200}  # 83.1 rows would be full


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("order", list(RowOrder))
def test_packing_puts_every_text_somewhere_and_none_over_another(order: RowOrder, sides: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 100, (200, sides))
    layouts = pack(lengths, 128, order)
    for side, layout in enumerate(layouts):
        assert (layout.lengths == lengths[:, side]).all()
        assert (layout.rows == layouts[0].rows).all()
        ids = layout.ids()
        assert (ids >= 0).sum() == lengths[:, side].sum()
        assert ids.shape[1] <= 128
        assert len(ids) <= MOST_ROWS[order] * sides
        if order is not RowOrder.FIRST_FIT_DECREASING:
            assert (np.diff(layout.rows) >= 0).all()
    if order is RowOrder.APART:
        assert layouts[0].rows.tolist() == list(range(200))


@pytest.mark.parametrize(
    ("example", "match"),
    [
        ({"input_ids": []}, "it has 0 tokens"),
        ({"input_ids": [5] * 30}, "it has 30 tokens, a row has 24"),
        ({"input_ids": [5, 1], "attention_mask": [1, 0]}, "it is padded"),
        ({"input_ids": [5, 6], "labels": [5]}, "its labels are not one a token"),
        ({"input_ids": [5, 6], "weights": [1.0] * 3}, "its weights are not one a token"),
    ],
)
def test_bad_examples(example: dict[str, Any], match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        am.hf.PackingCollator(Tokens(), row_tokens=24)([example])


def test_a_trainer_that_keeps_columns_hands_weights_on(tmp_path: Path, minilm: tuple[Any, Any]) -> None:
    model = model_of("llama")
    texts = [{**text, "weights": [2.0] * len(text["input_ids"])} for text in examples()]
    arguments = tf.TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], remove_unused_columns=False)
    collate = am.hf.PackingCollator(minilm[1], row_tokens=40)
    trainer = tf.Trainer(model, arguments, data_collator=collate, train_dataset=texts)
    (batch,) = trainer.get_train_dataloader()
    weights = batch["attention_mask"].weights
    assert float(weights.sum()) == weights.numel() + sum(LENGTHS)


# Of each way to count positions, and of those that look at their mask or stop at it.
@pytest.mark.parametrize(
    "name",
    ["gpt2", "data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl", "xmod", "kosmos-2.5", "opt", "bert-generation"],
)
def test_each_text_of_a_row_is_what_it_is_alone(name: str) -> None:
    model = am.hf.tiny_model(name)
    model.set_attn_implementation("attnmask")
    texts = [[token % 90 + 5 for token in text["input_ids"]] for text in examples((13, 9, 11))]
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24, task="embedding", order="arrival")
    batch = collate([{"input_ids": text} for text in texts])
    layout = batch["attention_mask"].documents
    with torch.no_grad():
        together = model(**batch, use_cache=False).last_hidden_state
        for text, row, start in zip(texts, layout.rows, layout.starts, strict=True):
            alone = model(input_ids=torch.tensor([text]), use_cache=False).last_hidden_state[0]
            torch.testing.assert_close(together[row, start : start + len(text)], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilebert", "recurrent_gemma"])
def test_models_that_mix_tokens_outside_attention_take_no_packed_rows(name: str) -> None:
    model = am.hf.tiny_model(name)
    model.set_attn_implementation("attnmask")
    batch = am.hf.PackingCollator(Tokens(), row_tokens=24, task="embedding")([{"input_ids": [5, 6, 7]}] * 2)
    with pytest.raises(UnsupportedModelError, match=f"{name} mixes the texts of a row"):
        model(**batch)


TEXT = {"input_ids": [5, 6]}


@pytest.mark.parametrize(
    ("examples", "match"),
    [
        ([], "given no examples"),
        ({"input_ids": [[5, 6], [7]]}, "given a dict"),
        (["a text"], "it has no input_ids: str"),
        ([TEXT, {"text": "a text"}], r"it has no input_ids: \['text'\]"),
        ([{"input_ids": torch.tensor([[5, 6]])}], r"its input_ids are \(1, 2\)"),
        ([TEXT, {**TEXT, "weights": [1.0, 2.0]}], "it has weights, example 0 has none"),
        ([{**TEXT, "labels": [5, 6]}, TEXT], "it has no labels, example 0 has"),
        ([{**TEXT, "token_type_ids": [0, 1]}, TEXT], "it has no token_type_ids, example 0 has"),
    ],
)
def test_what_is_no_list_of_examples_that_are_alike(examples: Any, match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        am.hf.PackingCollator(Tokens(), row_tokens=24)(examples)


@pytest.mark.parametrize("name", ["labels", "label", "label_ids"])
def test_the_label_of_a_text_goes_by_its_usual_names(name: str) -> None:
    collate = am.hf.PackingCollator(Tokens(), row_tokens=24, task="classification", order="arrival")
    assert collate([{**TEXT, name: 2}, {**TEXT, name: 0}])["labels"].tolist() == [2, 0]
    with pytest.raises(ArgumentError, match="it has no labels"):
        collate([TEXT])


def test_masked_lm_masks_real_tokens_alone(minilm: tuple[Any, Any]) -> None:
    tokenizer = minilm[1]
    collate = am.hf.PackingCollator(tokenizer, row_tokens=64, task="masked-lm", mlm_probability=0.5)
    torch.manual_seed(0)
    texts = [{"input_ids": tokenizer(f"The {n}th text about masks and tokens.")["input_ids"]} for n in range(20)]
    batch = collate(texts)
    asked = batch["labels"] != -100
    ids = torch.from_numpy(batch["attention_mask"].documents.ids())
    assert 0.3 < asked.sum() / (ids >= 0).sum() < 0.5
    assert bool((ids[asked] >= 0).all())
    assert not (set(batch["labels"][asked].tolist()) & set(tokenizer.all_special_ids))
    assert (batch["input_ids"][asked] == tokenizer.mask_token_id).float().mean() > 0.7


def test_a_trainer_packs_stops_and_goes_on(tmp_path: Path, minilm: tuple[Any, Any]) -> None:
    texts = examples(tuple(torch.randint(1, 20, (64,), generator=torch.Generator().manual_seed(1)).tolist()))

    def trainer(folder: str, steps: int) -> tf.Trainer:
        torch.manual_seed(0)
        config = tf.LlamaConfig(
            **{**SMALL, "vocab_size": VOCABULARY}, intermediate_size=64, num_key_value_heads=2, use_cache=False
        )
        config._attn_implementation = "attnmask"
        arguments = tf.TrainingArguments(
            output_dir=str(tmp_path / folder), per_device_train_batch_size=8, max_steps=steps, save_steps=3, seed=0,
            report_to=[], logging_steps=1, learning_rate=1e-2, use_cpu=True, dataloader_num_workers=1,
            disable_tqdm=True, lr_scheduler_type="constant",
        )  # fmt: skip
        collate = am.hf.PackingCollator(minilm[1], row_tokens=40)
        return tf.Trainer(tf.LlamaForCausalLM(config), arguments, data_collator=collate, train_dataset=texts)

    whole = trainer("whole", 6)
    whole.train()
    trainer("parts", 3).train()
    rest = trainer("parts", 6)
    rest.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    losses = [line["loss"] for line in whole.state.log_history if "loss" in line]
    assert losses[-1] < losses[0]
    for (name, got), want in zip(rest.model.named_parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, msg=name)


# Of GPT-2, Trainer counts the first label of each padded text too, which nobody predicts: the name of its class does
# not say which loss it has.
@pytest.mark.parametrize(("name", "unpredicted"), [("llama", 0), ("gpt2", 1)])
def test_steps_that_are_accumulated_have_the_mean_loss_of_their_labels(
    name: str, unpredicted: int, tmp_path: Path, minilm: tuple[Any, Any]
) -> None:
    texts = examples(FILLED * 2)

    def loss_of(collate: Any) -> float:
        model = model_of(
            name, tf.AutoModelForCausalLM, use_cache=False, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        )
        model.set_attn_implementation("attnmask")
        arguments = tf.TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=len(FILLED), gradient_accumulation_steps=2,
            max_steps=1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        return tf.Trainer(model, arguments, data_collator=collate, train_dataset=texts).train().training_loss

    padded = loss_of(tf.DataCollatorForLanguageModeling(minilm[1], mlm=False))
    packed = loss_of(am.hf.PackingCollator(minilm[1], row_tokens=40, task="causal-lm"))
    predicted = 2 * sum(length - 1 for length in FILLED)
    assert packed == pytest.approx(padded * (predicted + unpredicted * 2 * len(FILLED)) / predicted, rel=1e-6)
