"""Token ids at masked positions must not change the outputs of tokens."""

from __future__ import annotations

from collections.abc import Iterator

from attnmask.auditing.expected.batch_consistency import mark_inconsistent_batches
from attnmask.auditing.measure.differences import Comparison, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import ModelKind, Run
from attnmask.auditing.subject.probe_inputs import SIDES, padded

NAME = "padding leak"
WHAT = "what stands at padding changes the outputs of tokens"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.is_pooled:
        return "the model gives no output for every token"
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Two contents of the padding, in every mode in which a mask may take another way."""
    yield from mark_inconsistent_batches(_cells(context))


def _cells(context: ProbeContext) -> Iterator[Finding]:
    subject = context.subject
    for implementation in subject.implementations:
        for side in SIDES:
            yield _compared(context, side, implementation, 2, train=False)
        # Alone in its batch: mark_inconsistent_batches compares this with the batch of two.
        for side in ("right", "left"):
            yield _compared(context, side, implementation, 1, train=False)
        yield _compared(context, "left", implementation, 2, train=True)
        if subject.kind is not ModelKind.CAUSAL:
            yield _compared(context, "right", implementation, 2, train=True)


def _compared(context: ProbeContext, side: str, implementation: str, batch: int, train: bool) -> Finding:
    left, right = (padded(context.subject, side, batch, content, "given") for content in (21, 22))
    rows = output_rows(context.subject, left.item, left.places)
    one, other = (Run(pads.inputs, implementation, train=train, grad=train) for pads in (left, right))
    cell = {"padding": side, "implementation": implementation, "batch": str(batch)} | (
        {"mode": "train"} if train else {}
    )
    return context.compare(NAME, Comparison.at(one, other, rows), cell, WHAT, left)
