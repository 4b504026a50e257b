"""Report once that the texts of a batch are coupled even without padding, instead of as a leak in every probe."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from attnmask.auditing.expected.token_mixers import coupled_by_design
from attnmask.auditing.measure.differences import Comparison, output_rows, runs_beside_other_texts
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import comparison_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import Run, plain_inputs
from attnmask.auditing.subject.probe_inputs import PaddedBatch

NAME = "texts of a batch are coupled"
SIZE = "a text gives something else alone than in a batch of two, without any padding"
CHANCE = "chance: the same batch gives something else each time"
SEEN = "texts of a batch see each other: is the batch where the tokens should be?"
WHAT = "a text gives something else beside another one, without any padding"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    return ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """Beside one text and beside another; and alone: what differs there alone depends on the size of the batch."""
    for implementation in context.subject.implementations:
        for train in (False, True):
            yield _judged(context, implementation, train)
        yield _alone(context, implementation)


def _judged(context: ProbeContext, implementation: str, train: bool) -> Finding:
    cell = {"implementation": implementation} | ({"mode": "train"} if train else {})
    try:
        sensitivity = context.sensitivity(implementation, train)
    except CouldNotRunError as error:
        return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
    limit = sensitivity.coupling_threshold
    if not sensitivity.is_coupled:
        return Finding(NAME, Verdict.OK, WHAT, cell, sensitivity.noise, limit, sensitivity.power)
    subject = context.subject
    excuse = CHANCE if sensitivity.chance > limit else coupled_by_design(subject.model, train)
    verdict, cause = (Verdict.BY_DESIGN, excuse) if excuse else (Verdict.BUG, SEEN)
    rows = output_rows(subject, 0, list(range(subject.length)))
    script = comparison_script(subject, Comparison.at(*runs_beside_other_texts(subject, implementation, train), rows))
    return Finding(NAME, verdict, WHAT, cell, sensitivity.noise, limit, sensitivity.power, cause=cause, script=script)


def _alone(context: ProbeContext, implementation: str) -> Finding:
    one = plain_inputs(context.subject)
    two = {name: value.repeat(2, *(1,) * (value.ndim - 1)) for name, value in one.items()}
    batch = PaddedBatch(one, 0, torch.ones_like(one["input_ids"], dtype=torch.bool))
    rows = output_rows(context.subject, 0, batch.places)
    left, right = (Run(inputs, implementation) for inputs in (one, two))
    cell = {"implementation": implementation, "batch": "1 against 2"}
    return context.compare(NAME, Comparison.at(left, right, rows), cell, SIZE, batch)
