"""A mask of another type than 0 and 1 per token must be understood or refused, never misread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from attnmask.auditing.measure.differences import Comparison, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch, padded

NAME = "mask misread"
WHAT = "a mask of another type is taken for something else"
# 1 and True and 1.0 mean a token; the others are other formats, which a model may refuse but did not promise to read.
SAME_MEANING = ("bool", "float 0 and 1")
TYPES = ("bool", "float 0 and 1", "additive", "bool (B, 1, L, L)", "one token short")


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if "attention_mask" not in context.subject.takes:
        return "the model takes no attention_mask"
    return "four axes mean other things there" if context.subject.kind is ModelKind.ENCODER_DECODER else ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """Each type, on a text padded on the right and, in a causal model, on the left."""
    side = "left" if context.subject.kind is ModelKind.CAUSAL else "right"
    for implementation in context.subject.implementations:
        for name in TYPES:
            yield _compared(context, implementation, name, side)


def _compared(context: ProbeContext, implementation: str, name: str, side: str) -> Finding:
    subject = context.subject
    batch = padded(subject, side, 2, None, "given")
    given = batch.inputs | {"attention_mask": _typed(name, subject, batch)}
    rows = output_rows(subject, batch.item, batch.places)
    comparison = Comparison.at(Run(batch.inputs, implementation), Run(given, implementation), rows)
    finding = context.compare(NAME, comparison, {"mask": name, "implementation": implementation}, WHAT)
    if finding.verdict is Verdict.COULD_NOT_RUN:
        return replace(finding, verdict=Verdict.OK, what=f"refused: {finding.what}")
    if finding.verdict is Verdict.BUG and name not in SAME_MEANING:
        cause = f"the model takes 0 and 1 per token, and does not look: a mask {name} is misread in silence"
        return replace(finding, verdict=Verdict.BY_DESIGN, cause=cause, script="")
    return finding


def _typed(name: str, subject: Subject, batch: PaddedBatch) -> Tensor:
    tokens = batch.tokens
    if name == "bool":
        return tokens
    if name == "float 0 and 1":
        return tokens.float()
    if name == "additive":
        return torch.where(tokens, 0.0, torch.finfo(torch.float32).min)
    if name == "one token short":
        return tokens[:, 1:].long()
    length = tokens.shape[1]
    attends = tokens[:, None, None, :].expand(-1, 1, length, length)
    return attends.tril() if subject.kind is ModelKind.CAUSAL else attends
