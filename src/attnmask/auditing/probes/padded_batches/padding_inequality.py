"""A text must give the same outputs alone as in a padded batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnmask.auditing.expected.batch_consistency import mark_inconsistent_batches
from attnmask.auditing.expected.declared_masks import depends_on_row_start
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.absolute_positions import SHIFTED, is_position_shift, padded_and_alone

NAME = "padding inequality"
WHAT = "a text gives different outputs in a padded batch than alone"
FROM_THE_ROW = "the declared mask counts from the start of the row, not from the first token"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.is_pooled:
        return "the model gives no output for every token"
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Right and left, with default positions and with those that a user would give."""
    yield from mark_inconsistent_batches(_cells(context))


def _cells(context: ProbeContext) -> Iterator[Finding]:
    ways = ["default"] + (["given"] if "position_ids" in context.subject.takes else [])
    for implementation in context.subject.implementations:
        for side in ("right", "left"):
            for positions in ways:
                yield _compared(context, side, implementation, 2, positions)
        yield _compared(context, "right", implementation, 1, ways[-1])
        yield _compared(context, "left", implementation, 1, ways[-1])


def _compared(context: ProbeContext, side: str, implementation: str, batch: int, positions: str) -> Finding:
    subject = context.subject
    comparison, own = padded_and_alone(subject, side, implementation, batch, positions)
    cell = {
        "padding": side, "implementation": implementation, "batch": str(batch), "positions": positions,
    }  # fmt: skip
    finding = context.compare(NAME, comparison, cell, WHAT, own)
    if finding.verdict is not Verdict.BUG or side != "left":
        return finding
    if not subject.is_transformers and depends_on_row_start(subject.layers, subject.length, len(own.masked)):
        return replace(finding, verdict=Verdict.NOT_APPLICABLE, cause=FROM_THE_ROW, script="", since="")
    if positions != "default":
        return finding
    if not is_position_shift(subject, comparison, own, context.sensitivity(implementation).threshold):
        return finding
    return replace(finding, verdict=Verdict.BY_DESIGN, cause=SHIFTED, script="", since="")
