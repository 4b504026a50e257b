"""A sample of docs/architectures.md, run again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnmask.errors import ArgumentError
from attnmask.hf.models.tiny_models import tiny_inputs, tiny_model
from studies.architectures import TOLERANCE, compared, page_of
from tests.hf.small_models import hidden

PAGE = (Path(__file__).parents[3] / "docs" / "architectures.md").read_text()
COVERED, REST = PAGE.split("## Not covered")
NAMES = re.findall(r"^\| ([\w.-]+) \| \d+ \|", COVERED, re.MULTILINE)
# Each follows a way of its own through the interface.
WAYS = (
    *("bert", "roberta", "modernbert", "gpt2", "llama", "mistral", "gemma2", "gemma3", "llama4_text", "gpt_oss", "t5"),
    *("bart", "whisper", "vit", "clip", "paligemma", "t5gemma2", "deepseek_v3", "layoutlm", "wav2vec2", "qwen2_vl"),
    *("inkling2", "mllama"),
)


def test_the_page_covers_more_than_the_bar_and_gives_a_reason_for_every_other() -> None:
    assert len(NAMES) >= 120
    assert set(WAYS) <= set(NAMES)
    rest = re.findall(r"^\| ([\w.-]+) \| (.+) \|$", REST, re.MULTILINE)
    assert all(why for _, why in rest)
    assert not set(NAMES) & {name for name, _ in rest}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*WAYS, *sorted(set(NAMES) - set(WAYS))[::16]])
def test_it_is_still_what_the_page_says(name: str) -> None:
    row = compared(name)
    assert not row.why
    assert row.calls > 0
    assert max(row.right, row.left, row.grads) < TOLERANCE


OWN_SUMS = pytest.mark.xfail(strict=True, reason="its forward makes a sum of the mask before it asks anybody")
TEXTS = ("bert", "roberta", "modernbert", "gpt2", "llama", "mistral", "gemma2", "gemma3", "llama4_text", "gpt_oss",
         "t5", "bart", "paligemma", "t5gemma2", "deepseek_v3", "qwen2_vl", "inkling2", "mllama")  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*TEXTS, pytest.param("layoutlm", marks=OWN_SUMS)])
def test_an_additive_mask_is_refused(name: str) -> None:
    model = tiny_model(name)
    inputs = next(tiny_inputs(model))
    hidden(model, "attnmask", **inputs)
    inputs["attention_mask"] = (1.0 - inputs["attention_mask"]) * -1e4
    with pytest.raises(ArgumentError, match=r"attention_mask\[1, 13\] is -10000, neither 1"):
        hidden(model, "attnmask", **inputs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "why"), [("git", "adds the mask to its scores"), ("deepseek_v4", "bools")])
def test_a_model_that_cannot_be_exact_is_refused_by_name(name: str, why: str) -> None:
    row = compared(name)
    assert why in row.why
    assert f"| {name} | refused:" in page_of([row])
