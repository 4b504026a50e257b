"""Labels made from masks, and labels checked against masks."""

from __future__ import annotations

import re

import pytest
import torch
import transformers as tf
from torch import Tensor
from torch.nn.functional import cross_entropy

import attnmask as am
from attnmask.errors import ArgumentError
from tests.hf.packing.test_packed_training import Tokens, examples
from tests.hf.small_models import LENGTHS, batch, tiny

NONE = -100
PADDED = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
IDS = torch.tensor([[5, 6, 7, 8], [5, 9, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("mask", [PADDED, PADDED.flip(1), torch.tensor([[0, 1, 0, 1], [1, 1, 0, 1]])])
def test_labels_are_the_tokens_and_nothing_exactly_at_padding(mask: Tensor, dtype: torch.dtype) -> None:
    labels = am.hf.labels_from_mask(IDS, mask.to(dtype))
    assert torch.equal(labels == NONE, mask == 0)
    assert torch.equal(labels[mask == 1], IDS[mask == 1])
    am.hf.check_labels(labels, mask.to(dtype))


def test_the_loss_is_that_of_the_texts_alone() -> None:
    model, inputs = tiny("llama", kind=tf.AutoModelForCausalLM), batch("right", lengths=(9, 4))
    model.set_attn_implementation("attnmask")
    with torch.no_grad():
        loss = model(**inputs, labels=am.hf.labels_from_mask(*inputs.values())).loss
        texts = [ids[mask == 1][None] for ids, mask in zip(*inputs.values(), strict=True)]
        alone = [cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none") for ids in texts]
        torch.testing.assert_close(loss, torch.cat(alone).mean(), rtol=1e-5, atol=1e-5)
        # What is easily forgotten, and changes the loss in silence.
        pads_too = model(**inputs, labels=inputs["input_ids"]).loss
    assert abs(pads_too - loss) > 0.1
    with pytest.raises(ArgumentError, match="pads with a label: 5 of 5"):
        am.hf.check_labels(inputs["input_ids"], inputs["attention_mask"])


def test_labels_of_packed_documents_are_those_of_the_collator() -> None:
    packed = am.hf.PackingCollator(Tokens(), row_tokens=24)(examples(LENGTHS))
    labels = am.hf.labels_from_mask(packed["input_ids"], packed["attention_mask"])
    assert torch.equal(labels, packed["labels"])
    am.hf.check_labels(labels, packed["attention_mask"])


# Documents of 2 and 1 tokens in a row of 4, then one of 3.
PACKED = am.hf.PackingCollator(Tokens(), row_tokens=4, order="arrival")(
    [{"input_ids": [5, 6]}, {"input_ids": [7]}, {"input_ids": [8, 9, 5]}]
)["attention_mask"]


@pytest.mark.parametrize(
    ("labels", "mask", "task"),
    [
        ([[5, 6, 7, 8], [5, 9, NONE, NONE]], PADDED, "causal-lm"),
        ([[NONE, NONE, 7, 8], [NONE, 9, NONE, NONE]], PADDED, "completion"),
        ([[NONE, 6, NONE, NONE], [NONE] * 4], PADDED, "masked-lm"),
        ([[5, 6, NONE], [8, 9, 5]], PACKED, "causal-lm"),  # the first token of a row has no prediction
        ([[NONE, 6, NONE], [NONE, NONE, 5]], PACKED, "completion"),
        ([[5, NONE, 7], [8, NONE, 5]], PACKED, "masked-lm"),
    ],
)
def test_labels_that_fit_pass(labels: list[list[int]], mask: Tensor, task: str) -> None:
    am.hf.check_labels(torch.tensor(labels), mask, task)


CROSSING = "documents whose first label is predicted from the previous one: 1 of 3, the first is labels[0, 2] = 7"


@pytest.mark.parametrize(
    ("labels", "mask", "task", "message"),
    [
        ([[5, 6, 7, 8], [5, 9, 0, 4]], PADDED, "causal-lm", "with a label: 2 of 2, the first is labels[1, 2] = 0"),
        ([[5, 6, 7, 8], [5, 9, NONE, 4]], PADDED, "completion", "with a label: 1 of 2, the first is labels[1, 3] = 4"),
        ([[5, 6, 7, 8], [5, 9, NONE, 4]], PADDED, "masked-lm", "with a label: 1 of 2, the first is labels[1, 3] = 4"),
        (
            [[5, NONE, 7, 8], [5, NONE, NONE, NONE]],
            PADDED,
            "causal-lm",
            "tokens without a label: 2 of 6, the first is labels[0, 1] = -100",
        ),
        ([[5, NONE, NONE, NONE], [5, NONE, NONE, NONE]], PADDED, "completion", "no token is a prediction target"),
        ([[NONE] * 4] * 2, PADDED, "masked-lm", "no token is a prediction target"),
        ([[5, 6, 7], [8, 9, 5]], PACKED, "causal-lm", CROSSING),
        ([[5, 6, 7], [8, 9, 5]], PACKED, "completion", CROSSING),
        ([[5, NONE, NONE], [8, 9, 5]], PACKED, "causal-lm", "without a label: 1 of 6, the first is labels[0, 1]"),
        ([[5, 6, 7]], PADDED, "causal-lm", "labels are (1, 3) torch.int64, attention_mask (2, 4)"),
        ([[5.0] * 4] * 2, PADDED, "causal-lm", "labels are (2, 4) torch.float32"),
        ([[5] * 4] * 2, PADDED * 0.5, "causal-lm", "attention_mask[0, 0] is 0.5"),
        ([[5] * 4] * 2, PADDED[0], "causal-lm", "attention_mask has shape (4,)"),
        ([[5] * 4] * 2, PADDED, "regression", "task is 'regression'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: list[list[int]], mask: Tensor, task: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        am.hf.check_labels(torch.tensor(labels), mask, task)


def test_without_a_label_that_is_asked_for_the_loss_of_a_model_is_nan() -> None:
    model, inputs = tiny("llama", kind=tf.AutoModelForCausalLM), batch("right", lengths=(4, 1))
    labels = torch.full_like(inputs["input_ids"], NONE)
    labels[:, 0] = 5
    with torch.no_grad():
        assert model(**inputs, labels=labels).loss.isnan()
