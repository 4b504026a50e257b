"""Earlier calls of a model must not change its outputs: it must not keep a mask from another batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attnmask.auditing.measure.differences import difference, output_rows, repeat_tolerance
from attnmask.auditing.measure.probe_context import NEVER_FINITE, ProbeContext
from attnmask.auditing.report.reproduction import earlier_calls_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import Run, Subject
from attnmask.auditing.subject.fresh_copy import uncalled_copy
from attnmask.auditing.subject.probe_inputs import alone, padded

NAME = "earlier calls matter"
WHAT = "a batch gives something else after another one than in a model that was never called"
KEPT = "something of an earlier call is kept, such as its mask"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    return ""


def run(context: ProbeContext) -> Iterator[Finding]:
    """Run a batch after one of the same shape with other padding, and after a shorter text.

    State from earlier calls would cause findings in every other probe, so the model is then reset before each call.
    """
    subject = context.subject
    earlier = {"another padding": padded(subject, "left", seed=3).inputs, "a shorter text": alone(subject)}
    for implementation in subject.implementations:
        for name, inputs in earlier.items():
            found = _compare_after(subject, implementation, name, inputs)
            subject.keeps_state |= found.verdict is Verdict.BUG
            yield found


def _compare_after(subject: Subject, implementation: str, name: str, earlier: Mapping[str, Any]) -> Finding:
    batch, cell = padded(subject, "right"), {"after": name, "implementation": implementation}
    run = Run(batch.inputs, implementation)
    rows = [*output_rows(subject, 0, range(subject.length)), *output_rows(subject, batch.item, batch.places)]
    used, fresh, another = (_uncalled_subject(subject) for _ in range(3))
    try:
        used.run(Run(earlier, implementation))
        left, right, again = (one.run(run) for one in (used, fresh, another))
    except CouldNotRunError as error:
        return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
    number, chance = (difference(one, right, rows, rows) for one in (left, again))
    if chance == math.inf:
        return Finding(NAME, Verdict.COULD_NOT_RUN, NEVER_FINITE, cell)
    limit = repeat_tolerance(chance)
    if not number > limit:
        return Finding(NAME, Verdict.OK, WHAT, cell, number, limit)
    script = earlier_calls_script(subject, implementation, [earlier, batch.inputs], rows)
    return Finding(NAME, Verdict.BUG, WHAT, cell, number, limit, cause=KEPT, script=script)


def _uncalled_subject(subject: Subject) -> Subject:
    assert subject.original is not None
    return replace(subject, model=uncalled_copy(subject.original, subject.model))
