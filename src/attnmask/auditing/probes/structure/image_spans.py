"""Tokens of an image or prefix span must attend to each other in both directions, and not to later spans or text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.probes.decoding import generation
from attnmask.auditing.probes.numerics import implementations
from attnmask.auditing.probes.padded_batches import padding_inequality
from attnmask.auditing.probes.structure import layers, reach
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.declared_spans import span_rule_from_config

NAME = "image spans"
PROBES = (reach, layers, padding_inequality, implementations, generation)


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    rule = span_rule_from_config(subject.config)
    if rule is None or rule.argument not in subject.takes:
        return "token types open no span, as far as is known here"
    if subject.is_pooled or not subject.layers:
        return "the model gives no output for every token"
    return ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """What other probes say of the model when some tokens are marked as a span."""
    subject = context.subject
    rule = span_rule_from_config(subject.config)
    assert rule is not None
    assert subject.layers is not None
    marked = ProbeContext(replace(subject, span_rule=rule, layers=rule.declared(subject.layers, subject.length)))
    for probe in PROBES:
        if not probe.applies(marked):
            yield from (
                replace(found, probe=NAME, cell={"of": probe.NAME, **found.cell}) for found in probe.run(marked)
            )
