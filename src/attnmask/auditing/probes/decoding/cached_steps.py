"""Decoding through a cache, and a prompt in chunks, must give what one full forward pass gives."""

from __future__ import annotations

from collections.abc import Iterator

from attnmask.auditing.measure.differences import Comparison, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.probe_inputs import padded

NAME = "cache disagrees"
WHAT = "through a cache the outputs differ from those of one forward pass"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    if subject.is_pooled:
        return "the model gives no output for every token"
    if subject.kind is not ModelKind.CAUSAL or "past_key_values" not in subject.takes:
        return "the model has no cache that is known here"
    return ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """A prompt shorter than any window, then token by token; in three chunks; and at once, with and without a cache."""
    subject = context.subject
    for implementation in subject.implementations:
        for side in ("none", "left"):
            # A prompt holds tokens, not padding alone.
            prompt = 5 if side == "none" else subject.length - subject.short + 3
            cuts = {"token by token": tuple(range(prompt, subject.length)), "in chunks": (prompt, prompt + 5)}
            for way, chunks in cuts.items():
                yield _compared(context, subject, implementation, way, chunks, side)
            yield _compared(context, subject, implementation, "at once", (), side)


def _compared(
    context: ProbeContext, subject: Subject, implementation: str, way: str, chunks: tuple[int, ...], side: str
) -> Finding:
    batch = padded(subject, "left", 2, None, "given")
    item = batch.item if side == "left" else 0
    places = batch.places if side == "left" else list(range(subject.length))
    inputs = batch.inputs if side == "left" else {name: value[:1] for name, value in batch.inputs.items()}
    one, other = (Run(inputs, implementation), Run(inputs, implementation, chunks=chunks))
    if not chunks:
        one, other = (Run(inputs | {"use_cache": use}, implementation) for use in (False, True))
    cell = {"implementation": implementation, "queries": way, "padding": side}
    return context.compare(NAME, Comparison.at(one, other, output_rows(subject, item, places)), cell, WHAT)
