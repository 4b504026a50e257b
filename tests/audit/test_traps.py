"""What naive probes get wrong, one test a trap."""

from __future__ import annotations

import pytest
import torch

import attnmask as am
from attnmask.audit import audit
from attnmask.audit.build import subject_from_type
from attnmask.audit.inputs import SIDES, padded
from attnmask.audit.verdict import Verdict
from tests.zoo.mini import Mini
from tests.zoo.own import Windowed


def test_absolute_positions_that_left_padding_shifts_are_named_so() -> None:
    report = audit("gpt2", probes=["padding inequality"])
    shifted = [one for one in report.findings if one.verdict is Verdict.BY_DESIGN]
    assert report.exit_code == 0
    assert {(one.cell["padding"], one.cell["positions"]) for one in shifted} == {("left", "default")}
    assert all("absolute positions shift" in one.cause for one in shifted)


def test_roberta_starts_positions_behind_the_pad_id() -> None:
    assert subject_from_type("roberta", "masked").first == 2
    assert not audit("roberta", mode="masked", probes=["padding inequality"]).bugs


def test_a_decoder_gets_inputs_of_its_own() -> None:
    batch = padded(subject_from_type("bart", "seq2seq"), "right")
    assert batch.inputs["decoder_input_ids"].shape == (2, 9)


@pytest.mark.parametrize("side", SIDES)
def test_only_tokens_are_compared(side: str) -> None:
    batch = padded(subject_from_type("llama"), side)
    assert sorted(batch.places + batch.masked) == list(range(batch.tokens.shape[1]))
    assert batch.inputs["attention_mask"][batch.item].nonzero()[:, 0].tolist() == batch.places


def test_ids_that_mean_something_are_not_drawn() -> None:
    subject = subject_from_type("bert", "masked")
    assert subject.pad not in subject.tokens
    assert int(subject.tokens.max()) < subject.config.vocab_size


def test_a_causal_model_of_fresh_weights_has_no_power() -> None:
    model = Mini()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=1e-4)
    report = audit(model, mask=am.causal(), probes=["padding leak"])
    assert set(report.verdicts.values()) == {Verdict.NO_POWER}


def test_texts_are_longer_than_a_window() -> None:
    subject = subject_from_type("mistral")
    assert subject.length > (subject.config.sliding_window or 0)


def test_a_window_is_causal_without_saying_so_and_reaches_further_through_layers() -> None:
    report = audit(Windowed(), mask=am.window(left=7, right=0), redraw=True)
    assert report.verdicts["future leak"] is Verdict.OK
    assert report.verdicts["reach"] is Verdict.OK
