"""Collators and metrics, of transformers, of attnmask and of one's own: right ones are clean, wrong ones are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import attnmask as am
from attnmask.auditing.report.verdict import Verdict

PAD, EOS = 0, 2
Examples = list[dict[str, Any]]


def tokenizer(pad: str = "<pad>", side: str = "right") -> transformers.PreTrainedTokenizerFast:
    words = {"<pad>": PAD, "<unk>": 1, "<eos>": EOS, "<mask>": 3} | {f"w{i}": i for i in range(4, 60)}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")),
        pad_token=pad, eos_token="<eos>", unk_token="<unk>", mask_token="<mask>", padding_side=side,
    )  # fmt: skip


def padded(examples: Examples, fill: int = PAD) -> list[list[int]]:
    longest = max(len(example["input_ids"]) for example in examples)
    return [example["input_ids"] + [fill] * (longest - len(example["input_ids"])) for example in examples]


def right(examples: Examples) -> dict[str, Any]:
    """Everything as it should be."""
    ids = padded(examples)
    mask = [[1] * len(one["input_ids"]) + [0] * (len(ids[0]) - len(one["input_ids"])) for one in examples]
    tokens = np.array(mask, dtype=bool)
    weights = np.where(tokens, 0.5, 0.0)
    return {"input_ids": ids, "attention_mask": mask, "labels": np.where(tokens, ids, -100), "weights": weights}


def packed(examples: Examples) -> dict[str, Any]:
    """All texts in one row, as flash-attention takes them."""
    ids = [token for example in examples for token in example["input_ids"]]
    lengths = [len(example["input_ids"]) for example in examples]
    starts = np.cumsum([0, *lengths])
    labels = np.array(ids)
    labels[starts[:-1]] = -100
    positions = np.concatenate([np.arange(length) for length in lengths])
    return {"input_ids": [ids], "labels": [labels], "position_ids": [positions], "cu_seq_lens_q": starts}


def wrong(make: Callable[[Examples], dict[str, Any]], **changes: Any) -> Callable[[Examples], dict[str, Any]]:
    """A collator, one of whose results is another; a value is worked out from the batch."""

    def collator(examples: Examples) -> dict[str, Any]:
        batch = make(examples)
        changed = {name: change(batch) for name, change in changes.items()}
        return {name: value for name, value in (batch | changed).items() if value is not None}

    return collator


def by_id(batch: dict[str, Any]) -> Any:
    return (np.array(batch["input_ids"]) != PAD).astype(int)


def shifted(batch: dict[str, Any]) -> Any:
    return np.pad(np.array(batch["labels"])[:, 1:], ((0, 0), (0, 1)), constant_values=-100)


CLEAN: dict[str, tuple[Any, dict[str, Any]]] = {
    "padded": (right, {}),
    "packed": (packed, {}),
    "packed, positions alone": (wrong(packed, cu_seq_lens_q=lambda _: None), {}),
    "padded by transformers": (transformers.DataCollatorWithPadding(tokenizer()), {}),
    "padded on the left": (transformers.DataCollatorWithPadding(tokenizer(side="left")), {}),
    "causal-lm of transformers": (transformers.DataCollatorForLanguageModeling(tokenizer(), mlm=False), {"eos": EOS}),
    "masked-lm of transformers": (transformers.DataCollatorForLanguageModeling(tokenizer()), {"eos": EOS}),
    "flattened by transformers": (transformers.DataCollatorWithFlattening(), {}),
    "packed by attnmask": (am.hf.PackingCollator(tokenizer(), row_tokens=16), {"eos": EOS}),
    "masked-lm of attnmask": (am.hf.PackingCollator(tokenizer(), row_tokens=16, task="masked-lm"), {"eos": EOS}),
}
# Planted: (collator, options, check, a word of what it says).
PLANTED: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "pad is eos, in transformers": (
        transformers.DataCollatorForLanguageModeling(tokenizer(pad="<eos>"), mlm=False),
        {"pad": EOS, "eos": EOS}, "labels of tokens", "the pad id is also the id of the end of text",
    ),
    "pad is eos, in the mask": (
        wrong(right, attention_mask=by_id),
        {"eos": PAD}, "mask of a batch", "the pad id is also the id of the end of text",
    ),
    "a mask of ones": (
        wrong(right, attention_mask=lambda batch: np.ones_like(batch["input_ids"])),
        {}, "mask of a batch", "1 at padding",
    ),
    "no mask": (wrong(right, attention_mask=lambda _: None), {}, "mask of a batch", "no mask"),
    "an inverted mask": (
        wrong(right, attention_mask=lambda batch: 1 - np.array(batch["attention_mask"])),
        {}, "mask of a batch", "0 at tokens",
    ),
    "labels are the ids": (
        wrong(right, labels=lambda batch: batch["input_ids"]), {}, "labels at padding", "padding has labels",
    ),
    "labels shifted twice": (
        wrong(right, labels=shifted),
        {}, "labels of tokens", "shifted by one already",
    ),
    "labels across documents": (
        wrong(packed, labels=lambda batch: batch["input_ids"]), {}, "labels across documents", "document before",
    ),
    "positions run on": (
        wrong(packed, position_ids=lambda batch: [np.arange(len(batch["input_ids"][0]))]),
        {}, "documents of a row", "do not count from their own beginning",
    ),
    "borders of other texts": (
        wrong(packed, cu_seq_lens_q=lambda batch: batch["cu_seq_lens_q"] + [0, 1, 0, 0]),
        {}, "documents of a row", "borders",
    ),
    "nothing tells texts apart": (
        wrong(packed, cu_seq_lens_q=lambda _: None, position_ids=lambda _: None),
        {}, "documents of a row", "nothing tells apart",
    ),
    "a mask beside the positions": (
        wrong(packed, cu_seq_lens_q=lambda _: None, attention_mask=lambda batch: np.ones_like(batch["input_ids"])),
        {}, "documents of a row", "only where there is no attention_mask",
    ),
    "weights at padding": (
        wrong(right, weights=lambda batch: np.ones(np.shape(batch["input_ids"]))), {}, "weights at padding", "weights",
    ),
    "a text is cut": (
        lambda examples: right([{"input_ids": one["input_ids"][:5]} for one in examples]),
        {}, "tokens of a batch", "not whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_a_right_collator_is_clean(name: str) -> None:
    collator, options = CLEAN[name]
    torch.manual_seed(0)
    report = am.audit_collator(collator, **{"pad": PAD, **options})
    assert report.exit_code == 0, str(report)


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_collator_is_named(name: str) -> None:
    collator, options, probe, word = PLANTED[name]
    bugs = am.audit_collator(collator, **{"pad": PAD, **options}).bugs
    found = [bug for bug in bugs if bug.probe == probe and word in bug.what + bug.cause]
    assert found, bugs
    assert {bug.probe for bug in bugs} == {probe}


@pytest.mark.parametrize("name", ["a mask of ones", "labels are the ids", "labels shifted twice"])
def test_the_reproduction_prints_how_many(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    collator, options, *_ = PLANTED[name]
    bug = am.audit_collator(collator, **{"pad": PAD, **options}).bugs[0]
    assert len(bug.script.splitlines()) <= 20
    exec(bug.script.replace("collator = ...  # the collator that was audited", ""), {"collator": collator})
    assert f"{int(bug.number or 0)}" in capsys.readouterr().out


def test_a_collator_that_needs_more_than_ids_is_given_it() -> None:
    collator = transformers.DataCollatorForTokenClassification(tokenizer())
    examples = [{"input_ids": [10, 11, 12], "labels": [10, -100, 12]}, {"input_ids": [20], "labels": [20]}]
    assert am.audit_collator(collator, pad=PAD, examples=examples).exit_code == 0
    with pytest.raises(am.AttnMaskError, match="give examples="):
        am.audit_collator(lambda examples: examples[0]["missing"], pad=PAD)
    with pytest.raises(am.AttnMaskError, match="return input_ids"):
        am.audit_collator(lambda _: {"ids": 1}, pad=PAD)


def accuracy(prediction: Any) -> dict[str, float]:
    logits, labels = prediction
    asked = labels != -100
    return {"accuracy": float((logits.argmax(-1) == labels)[asked].mean())}


def shifted_accuracy(prediction: Any) -> dict[str, float]:
    logits, labels = prediction.predictions[:, :-1], prediction.label_ids[:, 1:]
    return accuracy((logits, labels))


def over_all(prediction: Any) -> dict[str, float]:
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(-1) == labels).mean())}


def mean_of_rows(prediction: Any) -> dict[str, float]:
    logits, _ = prediction
    return {"confidence": float(logits.max(-1).mean())}


def test_metrics() -> None:
    assert am.audit_metric(accuracy).exit_code == 0
    assert am.audit_metric(shifted_accuracy, shifts=True).exit_code == 0
    assert len(am.audit_metric(over_all).bugs) == 1
    assert len(am.audit_metric(mean_of_rows).bugs) == 2
    assert am.audit_metric(lambda _: {"always": 1.0}).verdicts == {"metric counts padding": Verdict.NO_POWER}
    with pytest.raises(am.AttnMaskError, match="numbers by name"):
        am.audit_metric(lambda _: 3)  # pyright: ignore
