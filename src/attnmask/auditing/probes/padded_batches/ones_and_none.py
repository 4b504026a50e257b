"""A mask of ones must give the same outputs as no mask."""

from __future__ import annotations

from collections.abc import Iterator

from attnmask.auditing.measure.differences import Comparison, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import Run, plain_inputs
from attnmask.auditing.subject.probe_inputs import PaddedBatch

NAME = "ones differ from no mask"
WHAT = "a mask of ones gives different outputs than no mask"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.requires_mask:
        return "the model is always given a mask"
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """A batch of one and of two: some code leaves masks out where there is nothing to pad."""
    subject = context.subject
    for implementation in subject.implementations:
        for count in (1, 2):
            ones = {name: value.expand(count, *value.shape[1:]) for name, value in plain_inputs(subject).items()}
            none = {name: value for name, value in ones.items() if name != "attention_mask"}
            batch = PaddedBatch(ones, count - 1, ones["attention_mask"].bool())
            rows = output_rows(subject, batch.item, batch.places)
            cell = {"implementation": implementation, "batch": str(count)}
            one, other = (Run(inputs, implementation) for inputs in (ones, none))
            yield context.compare(NAME, Comparison.at(one, other, rows), cell, WHAT, batch)
