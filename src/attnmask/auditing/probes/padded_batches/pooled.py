"""A head that reads one token of each text must not read padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.absolute_positions import SHIFTED, is_position_shift
from attnmask.auditing.subject.audited_model import ModelKind, Run
from attnmask.auditing.subject.probe_inputs import alone, padded

NAME = "pooling reads padding"
WHAT = "the head gives something else for a padded text than for the text alone"
READS = "the head reads a pad: tokens inside are as they should be"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if not context.subject.is_pooled:
        return "the model gives an output for every token"
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Padded on the right and on the left, by pads and by other tokens, alone in its batch and not."""
    for implementation in context.subject.implementations:
        for side in ("right", "left"):
            for content in (None, 21):
                for batch in (1, 2):
                    yield _compared(context, implementation, side, content, batch)


def _compared(context: ProbeContext, implementation: str, side: str, content: int | None, batch: int) -> Finding:
    subject = context.subject
    own = padded(subject, side, batch, content, "given")
    comparison = Comparison(
        Run(own.inputs, implementation), Run(alone(subject, "given"), implementation), [(own.item, 0)], [(0, 0)]
    )
    cell = {
        "padding": side,
        "implementation": implementation,
        "batch": str(batch),
        "content": "pads" if content is None else "tokens",
    }
    finding = context.compare(NAME, comparison, cell, WHAT, own)
    if finding.verdict is Verdict.BUG and not finding.since:
        if side == "left" and is_position_shift(
            subject, comparison, own, context.sensitivity(implementation).threshold
        ):
            return replace(finding, verdict=Verdict.BY_DESIGN, cause=SHIFTED, script="")
        finding = replace(finding, cause=READS)
        if subject.is_transformers and subject.kind is not ModelKind.CAUSAL and side == "left":
            cause = "the head reads the first token of the row: texts are to be padded on the right"
            return replace(finding, verdict=Verdict.BY_DESIGN, cause=cause, script="")
        if (
            content is not None
            and subject.config is not None
            and getattr(subject.config, "pad_token_id", None) is not None
        ):
            cause = "the head finds the last token by the pad id, not by the mask; here other ids stand at padding"
            return replace(finding, verdict=Verdict.BY_DESIGN, cause=cause, script="")
    return finding
