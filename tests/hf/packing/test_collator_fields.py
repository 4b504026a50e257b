"""What examples may hold, and whose rows predictions are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import attnmask as am
from attnmask.errors import ArgumentError, UnsupportedModelError
from tests.hf.small_models import NARROW, SMALL, VOCABULARY, tiny

TEXT = {"input_ids": [101, 7, 102]}


class Tokens:
    """All of a tokenizer that packing asks for."""

    pad_token_id = 0


def collator(**options: Any) -> am.hf.PackingCollator:
    return am.hf.PackingCollator(Tokens(), **{"row_tokens": 24, **options})  # pyright: ignore


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pixel_values": torch.zeros(3, 4, 4)}, "it has pixel_values, which cannot be packed"),
        ({"image_grid_thw": [1, 2, 2]}, "it has image_grid_thw"),
        ({"start_positions": 1, "end_positions": 2}, "it has start_positions, end_positions"),
        ({"position_ids": [0, 1, 2]}, "it has position_ids"),
        ({"label": 1}, "it has label,"),
        ({"idx": 4, "text": "a text"}, "it has idx, text"),
        ({"input_ids": [101, 7.9, 102]}, "its input_ids hold float64 values"),
        ({"input_ids": np.array([101.0, 7.0, 102.0], np.float32)}, "its input_ids hold float32 values"),
        ({"input_ids": torch.tensor([1.0, 2.0, 3.0])}, "its input_ids hold float32 values"),
        ({"input_ids": [True, False, True]}, "its input_ids hold bool values"),
        ({"input_ids": ["101", "7", "102"]}, "its input_ids hold <U3 values"),
        ({"input_ids": "a text"}, r"its input_ids are \(\)"),
        ({"input_ids": None}, r"its input_ids are \(\)"),
        ({"input_ids": [101, None, 102]}, "its input_ids hold object values"),
        ({"input_ids": [[101, 7, 102]]}, r"its input_ids are \(1, 3\)"),
        ({"input_ids": [[101, 7], [102]]}, "its input_ids are no array"),
        ({"input_ids": [101, -1, 102]}, r"its input_ids\[1\] is -1"),
        ({"input_ids": [2**70, 7, 102]}, "its input_ids hold object values"),
        ({"attention_mask": [1]}, "its attention_mask are not one a token"),
        ({"attention_mask": [1, 1, 1, 1]}, "its attention_mask are not one a token"),
        ({"attention_mask": [1, 1, 0]}, "it is padded"),
        ({"attention_mask": [1, 2, 1]}, r"its attention_mask\[1\] is 2"),
        ({"attention_mask": [1.0, 0.5, 1.0]}, "its attention_mask hold float64 values"),
        ({"token_type_ids": [0, 0]}, "its token_type_ids are not one a token"),
        ({"token_type_ids": [0, -1, 0]}, r"its token_type_ids\[1\] is -1"),
        ({"special_tokens_mask": [1, 0]}, "its special_tokens_mask are not one a token"),
        ({"special_tokens_mask": [1, 0, 3]}, r"its special_tokens_mask\[2\] is 3"),
        ({"labels": [1, 2, 3, 4]}, "its labels are not one a token"),
        ({"labels": [1, -5, 3]}, r"its labels\[1\] is -5"),
        ({"labels": [1.5, 2.0, 3.0]}, "its labels hold float64 values"),
        ({"weights": [1.0, -1.0, 1.0]}, r"its weights\[1\] is -1"),
        ({"weights": [1.0, float("nan"), 1.0]}, r"its weights\[1\] is nan"),
        ({"weights": ["a", "b", "c"]}, "its weights hold <U1 values"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        collator()([{**TEXT, **change}])


@pytest.mark.parametrize("examples", [None, 3, "a text", iter([TEXT]), {**TEXT}])
def test_what_is_no_list_of_examples(examples: Any) -> None:
    with pytest.raises(ArgumentError, match="it is given a"):
        collator()(examples)


@pytest.mark.parametrize(
    "options",
    [
        {"row_tokens": 0},
        {"row_tokens": 2.5},
        {"task": "lm"},
        {"order": "x"},
        {"mlm_probability": 2},
        {"mlm_probability": 0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        collator(**options)


def test_the_limits_of_a_model() -> None:
    model = tiny("bert")
    collate = am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=200, task="embedding")  # pyright: ignore
    with pytest.raises(ArgumentError, match=rf"its input_ids\[1\] is {VOCABULARY}"):
        collate([{"input_ids": [5, VOCABULARY]}])
    with pytest.raises(ArgumentError, match="it has 65 tokens, the model has positions for 64"):
        collate([{"input_ids": [5] * 65}])
    llama = am.hf.PackingCollator.for_model(tiny("llama"), Tokens(), row_tokens=24, task="embedding")  # pyright: ignore
    assert "token_type_ids" not in llama([{**TEXT, "token_type_ids": [0, 0, 0]}])
    with pytest.raises(ArgumentError, match="it has token_type_ids, and the model takes none"):
        llama([{**TEXT, "token_type_ids": [0, 1, 1]}])
    with pytest.raises(UnsupportedModelError, match="NoneType is no model"):
        am.hf.PackingCollator.for_model(None, Tokens(), row_tokens=24)  # pyright: ignore


def test_labels_stand_only_where_the_special_tokens_mask_allows(minilm: tuple[Any, Any]) -> None:
    collate = am.hf.PackingCollator(minilm[1], row_tokens=24, task="masked-lm", mlm_probability=1.0)
    texts = [{"input_ids": [101, 2054, 2003, 2023, 2015, 102], "special_tokens_mask": [1, 0, 0, 1, 0, 1]}] * 2
    asked = collate(texts)["labels"] != -100
    assert asked.int().tolist() == [[0, 1, 1, 0, 1, 0] * 2]
    plain = collate([{"input_ids": text["input_ids"]} for text in texts])["labels"] != -100
    assert plain.int().tolist() == [[0, 1, 1, 1, 1, 0] * 2]


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([2, 0], torch.int64), ([True, False], torch.int64), ([0.5, 1], torch.float32), ([[1, 0], [1, 1]], torch.int64)],
)
def test_labels_of_documents(labels: list[Any], dtype: torch.dtype) -> None:
    for of in (lambda x: x, np.array, torch.tensor):
        made = collator(task="classification")([{**TEXT, "label": of(label)} for label in labels])["labels"]
        assert made.tolist() == [label if isinstance(label, list) else float(label) for label in labels]
        assert made.dtype == dtype


@pytest.mark.parametrize("labels", [["a", "b"], [[1, 0], [1]], [None, None], [[[1]], [[0]]]])
def test_labels_that_are_no_numbers(labels: list[Any]) -> None:
    with pytest.raises(ArgumentError, match="label are no array of numbers"):
        collator(task="classification")([{**TEXT, "label": label} for label in labels])


def texts_of(lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(5, 1000, (n,), generator=generator).tolist()} for n in lengths]


LENGTHS = (3, 20, 7, 1, 13, 9, 2)
HEADS: dict[str, Any] = {
    "classification": (tf.BertForSequenceClassification, tf.BertConfig(**SMALL, intermediate_size=64)),
    "tokens": (tf.BertForTokenClassification, tf.BertConfig(**SMALL, intermediate_size=64, num_labels=3)),
    "masked-lm": (tf.BertForMaskedLM, tf.BertConfig(**{**SMALL, "vocab_size": 1000}, intermediate_size=64)),
    "causal-lm": (tf.LlamaForCausalLM, tf.LlamaConfig(**{**NARROW, "vocab_size": 1000}, use_cache=False)),
}


def trainer_of(task: str, folder: Path, **options: Any) -> tf.Trainer:
    torch.manual_seed(0)
    kind, config = HEADS[task]
    model = kind(config)
    if task == "classification":
        am.hf.heads_by_document(model)
    model.set_attn_implementation("attnmask")
    names = {"tokens": "masked-lm"}
    collate = am.hf.PackingCollator.for_model(
        model,
        Tokens(),
        row_tokens=24,
        task=names.get(task, task),
        **options,  # pyright: ignore
    )
    arguments = tf.TrainingArguments(
        str(folder), use_cpu=True, report_to=[], per_device_eval_batch_size=4, disable_tqdm=True
    )
    return tf.Trainer(model, arguments, data_collator=collate)  # pyright: ignore


@pytest.mark.parametrize("task", list(HEADS))
def test_predictions_of_a_trainer_are_rows_of_the_data_set(task: str, tmp_path: Path) -> None:
    texts = texts_of(LENGTHS)
    labels = {
        "classification": [number % 2 for number in range(len(texts))],
        "causal-lm": [text["input_ids"] for text in texts],
    }.get(task, [[token % 3 for token in text["input_ids"]] for text in texts])
    options = {} if task == "classification" else {"order": "apart"}
    trainer = trainer_of(task, tmp_path, **options)
    examples = [{**text, "labels": label} for text, label in zip(texts, labels, strict=True)]
    output = trainer.predict(examples)  # pyright: ignore
    model: Any = trainer.model
    model.set_attn_implementation("eager")
    predictions, found = np.asarray(output.predictions), np.asarray(output.label_ids)
    assert len(predictions) == len(texts)
    for at, (text, label) in enumerate(zip(texts, labels, strict=True)):
        with torch.no_grad():
            want = model.eval()(input_ids=torch.tensor([text["input_ids"]])).logits[0].numpy()
        got = predictions[at] if task == "classification" else predictions[at, : len(want)]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        own = found[at] if task == "classification" else found[at, : len(want)]
        # Nothing predicts the first token of a text.
        assert np.array_equal(own, [-100, *label[1:]] if task == "causal-lm" else label)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_forgotten_head_is_told_at_the_first_step(rows: int) -> None:
    model = tf.BertForSequenceClassification(HEADS["classification"][1])
    model.set_attn_implementation("attnmask")
    examples = [{**text, "label": number % 2} for number, text in enumerate(texts_of((5, 5, 5)))]
    made = (
        am.hf.PackingCollator.for_model(model, Tokens(), row_tokens=24 // rows, task="classification"),  # pyright: ignore
        collator(task="classification", row_tokens=24 // rows),
    )
    for collate in made:
        with pytest.raises(ArgumentError, match="a label for each of 3 documents"):
            model(**collate(examples))
    own = am.hf.PackingCollator.for_model(model.bert, Tokens(), row_tokens=24, task="classification")  # pyright: ignore
    states = model.bert(**{name: x for name, x in own(examples).items() if name != "labels"}).last_hidden_state
    assert am.hf.pool(states, own(examples)["attention_mask"]).shape == (3, 32)
    handle = am.hf.heads_by_document(model)
    am.hf.heads_by_document(model).remove()  # changed nothing, and undoes nothing
    assert model(**made[0](examples)).logits.shape == (3, 2)
    handle.remove()


def test_heads_that_read_the_last_token_are_refused() -> None:
    model = tf.LlamaForSequenceClassification(tf.LlamaConfig(**NARROW))
    with pytest.raises(UnsupportedModelError, match="reads the last token"):
        am.hf.heads_by_document(model)
