"""Every layer and head must attend to the declared pairs, as recorded from its attention calls."""

from __future__ import annotations

from collections.abc import Iterator

from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.recording.layer_sets import Mismatch, mismatches, record_calls
from attnmask.auditing.report.reproduction import layer_script
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.audited_model import Run
from attnmask.auditing.subject.probe_inputs import SIDES, PaddedBatch, padded

NAME = "mask of a layer"
WHAT = "a layer attends to other keys than declared"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """The masks received under every padding and implementation, beside the declared ones."""
    for implementation in context.subject.implementations:
        for side in SIDES:
            batch = padded(context.subject, side, 2, None, "given")
            yield _judged(context, Run(batch.inputs, implementation), batch, side)


def _judged(context: ProbeContext, run: Run, batch: PaddedBatch, side: str) -> Finding:
    subject = context.subject
    cell = {"padding": side, "implementation": run.implementation}
    try:
        found = list(mismatches(subject, run, batch))
        seen = len(record_calls(subject, run)) if not found else 1
    except Exception as error:  # whatever a model's own code raises
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    if not found:
        return Finding(
            NAME, Verdict.OK if seen else Verdict.NOT_APPLICABLE, WHAT if seen else "no attention is seen", cell
        )
    first: Mismatch = found[0]
    what = f"{WHAT}: {len(found)} of them, {first.extra} pairs too many and {first.missing} too few in the first"
    return Finding(
        NAME, Verdict.BUG, what, cell, float(first.extra + first.missing), 0.0, since=first.where, cause=first.cause,
        script=layer_script(subject, run, first), expected=first.expected, received=first.received,
        layers=context.layers(run, batch),
    )  # fmt: skip
