"""What naive probes call a bug and is none: traps 1 to 12, each a test that bears its number."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.auditing import audit
from attnmask.auditing.report.verdict import Verdict
from attnmask.auditing.subject.probe_inputs import SIDES, padded
from attnmask.auditing.subject.subject_from_name import subject_from_model, subject_from_type
from tests.zoo.mini import Mini, MiniEncoder
from tests.zoo.own import CacheForgetsPadding, SumOverflows, Windowed


def test_trap_01_absolute_positions_that_left_padding_shifts_are_named_so() -> None:
    report = audit("gpt2", probes=["padding inequality"])
    shifted = [one for one in report.findings if one.verdict is Verdict.BY_DESIGN]
    assert report.exit_code == 0
    assert {(one.cell["padding"], one.cell["positions"]) for one in shifted} == {("left", "default")}
    assert all("absolute positions shift" in one.cause for one in shifted)


def test_trap_02_roberta_starts_positions_behind_the_pad_id() -> None:
    assert subject_from_type("roberta", "masked").first == 2
    assert not audit("roberta", mode="masked", probes=["padding inequality"]).bugs


def test_trap_03_a_decoder_gets_inputs_of_its_own() -> None:
    batch = padded(subject_from_type("bart", "seq2seq"), "right")
    assert batch.inputs["decoder_input_ids"].shape == (2, 9)


def test_trap_04_an_indexer_keeps_as_many_keys_as_there_are() -> None:
    subject = subject_from_type("deepseek_v32")
    assert subject.config.index_topk >= subject.length
    assert not audit("deepseek_v32", probes=["implementations disagree", "padding leak"]).bugs


@pytest.mark.parametrize("side", SIDES)
def test_trap_05_only_tokens_are_compared(side: str) -> None:
    batch = padded(subject_from_type("llama"), side)
    assert sorted(batch.places + batch.masked) == list(range(batch.tokens.shape[1]))
    assert batch.inputs["attention_mask"][batch.item].nonzero()[:, 0].tolist() == batch.places


class Loud(Mini):
    """Overflows in float16 whatever stands beside the text."""

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~allowed, torch.finfo(q.dtype).min)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().read(x, mask) * 1e6


def test_trap_06_what_overflows_without_padding_is_no_overflow_of_masks() -> None:
    report = audit(Loud(), mask=am.causal(), probes=["additive constant"])
    in_half = [one for one in report.findings if one.cell.get("dtype") == "float16"]
    assert {one.verdict for one in in_half} == {Verdict.NO_POWER}
    assert audit(SumOverflows(True), mask=am.causal(), probes=["additive constant"]).bugs


def test_trap_07_packed_rows_are_tried_with_and_without_a_cache_which_stays_on() -> None:
    report = audit("llama", probes=["packed leak"])
    verdicts = {(one.cell["mask"], one.verdict) for one in report.findings}
    assert ("none", Verdict.OK) in verdicts
    assert ("none, with a cache", Verdict.BY_DESIGN) in verdicts
    subject = subject_from_type("llama")
    assert subject.config.use_cache is True
    assert audit(CacheForgetsPadding(True), mask=am.causal(), probes=["cache disagrees"]).bugs


def test_trap_08_a_cache_of_another_protocol_is_no_finding() -> None:
    assert not audit("mamba", probes=["cache disagrees"]).bugs


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


class Decorated(Mini):
    forward = logged(Mini.forward)


def test_trap_09_the_arguments_of_a_decorated_forward_are_known() -> None:
    assert subject_from_model(Decorated(), am.causal()).takes >= {"input_ids", "attention_mask", "position_ids"}


def test_trap_10_ids_that_mean_something_are_not_drawn() -> None:
    subject = subject_from_type("bert", "masked")
    assert subject.pad not in subject.tokens
    assert int(subject.tokens.max()) < subject.config.vocab_size
    special = {value for name, value in subject.config.to_dict().items() if name.endswith("_token_id")}
    assert not special & set(subject.tokens.tolist())


class Convolved(MiniEncoder):
    """A convolution beside attention, in which padding stands like anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = torch.nn.Conv1d(32, 32, 3, padding=1)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x + self.beside(x.mT).mT


MIXERS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "convolutions": (Convolved, {"mask": am.full()}, "convolutions mix tokens without a mask"),
    "Fourier": (lambda: "fnet", {"mode": "masked"}, ""),
    "neighbours in embeddings": (lambda: "mobilebert", {"mode": "masked"}, "its two neighbours"),
    "state-space": (lambda: "mamba", {}, ""),
    "permuted targets": (lambda: "xlnet", {}, ""),
    "pooled neighbours": (lambda: "funnel", {"mode": "masked"}, "pools neighbouring tokens"),
}


@pytest.mark.parametrize("name", MIXERS)
def test_trap_11_what_mixes_tokens_by_design_is_named_so(name: str) -> None:
    make, options, words = MIXERS[name]
    report = audit(make(), probes=["padding leak", "padding inequality"], **options)
    assert not report.bugs
    causes = [one.cause for one in report.findings if one.verdict is Verdict.BY_DESIGN]
    assert any(words in cause for cause in causes) or not words


@pytest.mark.parametrize("model_type", ["jamba", "bamba", "qwen3_next", "gemma3_text"])
def test_trap_12_a_tiny_hybrid_keeps_a_layer_of_each_kind(model_type: str) -> None:
    config = am.hf.tiny_model(model_type).config
    assert len(set(config.layer_types)) == 2
    assert any("attention" in kind and "linear" not in kind for kind in config.layer_types)


def test_a_window_is_causal_without_saying_so_and_reaches_further_through_layers() -> None:
    report = audit(Windowed(), mask=am.window(left=7, right=0), redraw=True)
    assert report.verdicts["future leak"] is Verdict.OK
    assert report.verdicts["reach"] is Verdict.OK
