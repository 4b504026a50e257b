"""What naive probes do not see: traps 13 to 20, each a test that bears its number."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.auditing import audit
from attnmask.auditing.report.verdict import Verdict
from attnmask.auditing.subject.subject_from_name import subject_from_type
from tests.zoo import own, patched
from tests.zoo.mini import Mini, MiniEncoder


def test_trap_13_a_causal_model_of_fresh_weights_has_no_power() -> None:
    model = Mini()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=1e-4)
    report = audit(model, mask=am.causal(), probes=["padding leak"])
    assert set(report.verdicts.values()) == {Verdict.NO_POWER}


class Gated(MiniEncoder):
    """Attention behind a gate that is closed at first, as zero-initialised layers are; padding is attended to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = torch.nn.Parameter(torch.zeros(32))

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None, batch, queries, keys)

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        return self.gate * super().attend(number, q, k, v, allowed)


def test_trap_13_a_closed_gate_is_opened() -> None:
    assert audit(Gated(), mask=am.full(), probes=["padding leak"]).verdicts == {"padding leak": Verdict.NO_POWER}
    assert audit(Gated(), mask=am.full(), probes=["padding leak"], redraw=True).bugs


class ZeroPads(MiniEncoder):
    """Keys and values of padding are zero whatever stands there, and are attended to."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **given: Any) -> Any:
        self.seen = attention_mask
        return super().forward(input_ids, attention_mask, **given)

    def projected(self, number: int, x: Tensor) -> list[Tensor]:
        q, k, v = super().projected(number, x)
        if self.seen is None:
            return [q, k, v]
        tokens = self.seen[:, None, :, None].to(k.dtype)
        return [q, k * tokens, v * tokens]

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None, batch, queries, keys)


def test_trap_14_padding_whose_content_cannot_matter_is_seen_against_the_text_alone() -> None:
    report = audit(ZeroPads(), mask=am.full(), probes=["padding leak", "padding inequality"])
    assert report.verdicts == {"padding leak": Verdict.OK, "padding inequality": Verdict.BUG}


class InOneCell(Mini):
    """Forgets the mask, or looks ahead, under one condition on the call."""

    def __init__(self, condition: Callable[[Any, Tensor | None, int], bool], ahead: bool) -> None:
        super().__init__()
        self.condition, self.ahead = condition, ahead

    def forward(  # pyright: ignore
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Any:
        self.given = position_ids
        return super().forward(input_ids, attention_mask, position_ids)

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        right = super().allowed(number, mask, batch, queries, keys)
        if not self.condition(self, mask, batch):
            return right
        return torch.ones_like(right) if self.ahead else super().allowed(number, None, batch, queries, keys)


def _is_left(mask: Tensor) -> bool:
    return bool((mask.diff(dim=1) >= 0).all())


def _has_hole(mask: Tensor) -> bool:
    return bool(((mask.diff(dim=1) != 0).sum(1) > 1).any())


CELLS: dict[str, tuple[Callable[[Any, Tensor | None, int], bool], bool]] = {
    "a batch of one": (lambda m, mask, batch: batch == 1, False),
    "a batch of two": (lambda m, mask, batch: batch == 2, False),
    "no mask": (lambda m, mask, batch: mask is None, True),
    "ones": (lambda m, mask, batch: mask is not None and bool((mask == 1).all()), True),
    "some padding": (lambda m, mask, batch: mask is not None and not bool((mask == 1).all()), False),
    "left": (lambda m, mask, batch: mask is not None and _is_left(mask), False),
    "right": (lambda m, mask, batch: mask is not None and not _is_left(mask), False),
    "a hole": (lambda m, mask, batch: mask is not None and _has_hole(mask), False),
    "training": (lambda m, mask, batch: m.training, True),
    "evaluation": (lambda m, mask, batch: not m.training, True),
    "with gradients": (lambda m, mask, batch: torch.is_grad_enabled() and not m.training, False),
    "without gradients": (lambda m, mask, batch: not torch.is_grad_enabled(), True),
    "given positions": (lambda m, mask, batch: m.given is not None, False),
    "default positions": (lambda m, mask, batch: m.given is None, False),
}


@pytest.mark.parametrize("name", CELLS)
def test_trap_15_a_bug_in_one_cell_is_found(name: str) -> None:
    condition, ahead = CELLS[name]
    assert audit(InOneCell(condition, ahead), mask=am.causal()).bugs
    assert not audit(InOneCell(lambda *_: False, ahead), mask=am.causal()).bugs


@pytest.mark.parametrize("make", [partial(patched.llama, wrong=patched.LlamaSdpa), patched.llama_generation])
def test_trap_15_one_implementation_and_generation_are_cells_too(make: Callable[[bool], Any]) -> None:
    probes = ["implementations disagree", "generation disagrees"]
    assert audit(make(True), probes=probes, redraw=True).bugs
    assert not audit(make(False), probes=probes, redraw=True).bugs


@pytest.mark.parametrize("model_type", ["mistral", "llama4_text", "gemma3_text"])
def test_trap_16_texts_are_longer_than_a_window_and_prompts_shorter(model_type: str) -> None:
    subject = subject_from_type(model_type)
    size = getattr(subject.config, "attention_chunk_size", None) or subject.config.sliding_window
    assert subject.length > size
    chunked = [one for one in audit(model_type, probes=["cache disagrees"]).findings if one.cell.get("queries")]
    assert {"token by token", "in chunks"} <= {one.cell["queries"] for one in chunked}


def test_trap_17_a_constant_is_tried_against_large_scores() -> None:
    probes = ["padding leak", "additive constant"]
    report = audit(own.SmallConstant(True), mask=am.full(), probes=probes, redraw=True)
    assert report.verdicts == {"padding leak": Verdict.OK, "additive constant": Verdict.BUG}


def test_trap_18_the_threshold_stands_between_rounding_and_leaks() -> None:
    clean = [one for one in audit("bert", mode="masked").findings if one.number is not None and one.threshold]
    assert max(one.number / one.threshold for one in clean if one.verdict is Verdict.OK) < 0.5  # pyright: ignore
    found = audit(own.NoMaskAlone(True), mask=am.causal(), probes=["padding leak"], redraw=True).bugs
    assert min(one.number / one.threshold for one in found) > 100  # pyright: ignore


def test_trap_19_a_head_that_reads_one_token_is_padded_on_both_sides() -> None:
    report = audit("llama", mode="classification", probes=["pooling reads padding"])
    assert {one.cell["padding"] for one in report.findings} == {"left", "right"}
    for wrong, side in ((own.ReadsTheLastPlace, "right"), (own.ReadsTheFirstPlace, "left")):
        bugs = audit(wrong(True), mask=am.full(), redraw=True).bugs
        assert {one.cell["padding"] for one in bugs if one.probe == "pooling reads padding"} == {side}


def test_trap_20_a_loss_is_compared_with_that_of_the_texts_alone() -> None:
    probes = ["padding leak", "loss counts padding"]
    report = audit(own.LossCountsPadding(True), mask=am.full(), probes=probes, redraw=True)
    assert report.verdicts == {"padding leak": Verdict.OK, "loss counts padding": Verdict.BUG}


def test_every_trap_has_a_test() -> None:
    code = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {int(number) for number in re.findall(r"def test_trap_(\d\d)_", code)} == set(range(1, 21))
