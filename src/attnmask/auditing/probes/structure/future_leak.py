"""In a causal model, no token may attend to a later one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import PaddedBatch

NAME = "future leak"
WHAT = "a later token changes the outputs of earlier ones"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.is_pooled:
        return "the model gives no output for every token"
    return "the model is bidirectional" if context.subject.kind is ModelKind.BIDIRECTIONAL else ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """All tokens behind a cut changed, at three cuts, with a mask, without, and in training."""
    for implementation in context.subject.implementations:
        masks = _masks(context.subject)
        for mask in masks:
            yield _compared(context, implementation, mask, 2, train=False)
        yield _compared(context, implementation, "none" if "none" in masks else "ones", 1, train=False)
        yield _compared(context, implementation, masks[0], 2, train=True)


def _masks(subject: Subject) -> tuple[str, ...]:
    if "attention_mask" not in subject.takes:
        return ("none",)
    return ("ones", "padded left") if subject.requires_mask else ("ones", "none", "padded left")


def _compared(context: ProbeContext, implementation: str, mask: str, batch: int, train: bool) -> Finding:
    subject = context.subject
    name = "decoder_input_ids" if subject.kind is ModelKind.ENCODER_DECODER else "input_ids"
    inputs = plain_inputs(subject)
    ids = inputs[name].expand(batch, -1)
    inputs = {key: value.expand(batch, *value.shape[1:]) for key, value in inputs.items()}
    tokens = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    if mask == "none":
        inputs.pop("attention_mask", None)
    elif mask == "padded left":
        tokens[-1, :5] = False
        inputs["attention_mask"] = tokens.long()
    cut = ids.shape[1] // 2
    changed = torch.cat([ids[:, :cut], subject.text(33, ids.shape[1] - cut).expand(batch, -1)], 1)
    first = 5 if mask == "padded left" and name == "input_ids" else 0
    rows = [(batch - 1, i) for i in range(first, cut)]
    one, other = (Run(inputs | {name: text}, implementation, train=train, grad=train) for text in (ids, changed))
    cell = {"implementation": implementation, "mask": mask, "batch": str(batch)} | ({"mode": "train"} if train else {})
    return context.compare(NAME, Comparison.at(one, other, rows), cell, WHAT, PaddedBatch(inputs, batch - 1, tokens))
