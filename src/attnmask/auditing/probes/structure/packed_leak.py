"""Texts packed into one row, whose positions restart at each text, must not attend to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.recording.attention_calls import AttentionCall
from attnmask.auditing.recording.layer_sets import record_calls
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch

NAME = "packed leak"
WHAT = "a text changes the outputs of another that is packed into the same row"
SOME = "positions tell texts apart in some layers, and in {} they do not"
PARTLY = "positions tell texts apart, but not all of their tokens: where the second begins is misjudged"
FIRST = 7


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    if subject.is_pooled:
        return "the model gives no output for every token"
    if subject.kind is ModelKind.ENCODER_DECODER or "position_ids" not in subject.takes:
        return "the model takes no position ids"
    return ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """Without a mask, as packed training does it; with one of ones; and where the model keeps a cache."""
    ways = WAYS if "use_cache" in context.subject.takes else WAYS[:2]
    found = [_compared(context, name, way) for name in context.subject.implementations for way in ways]
    without_mask = [one for one in found if one.cell["mask"] == "none" and one.verdict is Verdict.OK]
    for one in found:
        yield _leak_in_some_layers(context, one) or _judged(one, bool(without_mask))


WAYS = ("none", "ones", "none, with a cache")


def _leak_in_some_layers(context: ProbeContext, finding: Finding) -> Finding | None:
    """A bug where positions keep texts apart in some layers only, or but for some tokens; None if in none, or all."""
    seen = _pairs_across_texts(context, finding) if finding.verdict is Verdict.BUG else []
    leaking = [layer for layer, across, _ in seen if across]
    partly = [layer for layer, across, whole in seen if 0 < across < whole]
    if not leaking or not any(across < whole for _, across, whole in seen):
        return None
    cause = PARTLY if partly else SOME.format(len(leaking))
    return replace(finding, since=(partly or leaking)[0], cause=cause)


def _pairs_across_texts(context: ProbeContext, finding: Finding) -> list[tuple[str, int, int]]:
    """Of each layer, its pairs across the texts, and those that it has where positions run on."""
    inputs, implementation = _packed(context.subject, 41, finding.cell["mask"]), finding.cell["implementation"]
    length = inputs["input_ids"].shape[1]
    one_text = inputs | {"position_ids": torch.arange(length)[None] + context.subject.first}
    try:
        both = [record_calls(context.subject, Run(given, implementation)) for given in (inputs, one_text)]
    except Exception:  # a model may refuse to be looked into
        return []
    packed, whole = ([c for c in calls if c.plan.shape[2:] == (length, length)] for calls in both)
    return [(a.layer, _across(a), _across(b)) for a, b in zip(packed, whole, strict=False)]


def _across(call: AttentionCall) -> int:
    return int(call.plan.to("dense")[..., FIRST:, :FIRST].sum())


def _judged(finding: Finding, reads_positions: bool) -> Finding:
    """Judge a leak by design if positions separate texts only without a mask; not applicable if they never do."""
    if finding.verdict is not Verdict.BUG or (reads_positions and finding.cell["mask"] == "none"):
        return finding
    if not reads_positions:
        cause = "the model does not tell texts apart by their positions"
        return replace(finding, verdict=Verdict.NOT_APPLICABLE, cause=cause, script="", since="")
    cause = f"positions tell texts apart only without a mask and without a cache; here: {finding.cell['mask']}"
    return replace(finding, verdict=Verdict.BY_DESIGN, cause=cause, script="")


def _compared(context: ProbeContext, implementation: str, way: str) -> Finding:
    subject = context.subject
    left, right = (_packed(subject, seed, way) for seed in (41, 42))
    length = left["input_ids"].shape[1]
    rows = [(0, i) for i in range(FIRST, length)]
    tokens = torch.ones(1, length, dtype=torch.bool)
    cell = {"implementation": implementation, "mask": way}
    comparison = Comparison.at(Run(left, implementation), Run(right, implementation), rows)
    return context.compare(NAME, comparison, cell, WHAT, PaddedBatch(left, 0, tokens) if way == "none" else None)


def _packed(subject: Subject, seed: int, way: str) -> dict[str, Any]:
    """Two texts in a row, the first of a seed."""
    second = subject.text(1, subject.short)
    ids = torch.cat([subject.text(seed, FIRST), second], 1)
    positions = torch.cat([torch.arange(FIRST), torch.arange(second.shape[1])])[None] + subject.first
    inputs: dict[str, Any] = {"input_ids": ids, "position_ids": positions}
    if "use_cache" in subject.takes:
        inputs["use_cache"] = way.endswith("cache")
    return inputs | ({"attention_mask": torch.ones_like(ids)} if way == "ones" else {})
