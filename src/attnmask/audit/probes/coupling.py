"""What couples the texts of a batch without any padding is named once, not reported as a leak everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from attnmask.audit.context import Context
from attnmask.audit.inputs import Padded
from attnmask.audit.measure import Comparison, rows_of
from attnmask.audit.subject import Run, plain_inputs
from attnmask.audit.verdict import CouldNotRunError, Finding, Verdict

NAME = "texts of a batch are coupled"
SIZE = "a text gives something else alone than in a batch of two, without any padding"
WHAT = "a text gives something else beside another one, without any padding"


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    return ""


def run(context: Context) -> Iterator[Finding]:
    """Beside one text and beside another; and alone: what differs there alone depends on the size of the batch."""
    for implementation in context.subject.implementations:
        cell = {"implementation": implementation}
        try:
            scale = context.scale(implementation)
        except CouldNotRunError as error:
            yield Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
            continue
        verdict = Verdict.BY_DESIGN if scale.is_coupled else Verdict.OK
        cause = "such as experts of a limited capacity, or chance" if scale.is_coupled else ""
        yield Finding(NAME, verdict, WHAT, cell, scale.noise, 1e-3 * scale.power, scale.power, cause=cause)
        yield _alone(context, implementation)


def _alone(context: Context, implementation: str) -> Finding:
    one = plain_inputs(context.subject)
    two = {name: value.repeat(2, *(1,) * (value.ndim - 1)) for name, value in one.items()}
    batch = Padded(one, 0, torch.ones_like(one["input_ids"], dtype=torch.bool))
    rows = rows_of(context.subject, 0, batch.places)
    left, right = (Run(inputs, implementation) for inputs in (one, two))
    cell = {"implementation": implementation, "batch": "1 against 2"}
    return context.compare(NAME, Comparison.at(left, right, rows), cell, SIZE, batch)
