"""What couples the texts of a batch without any padding is named once, not reported as a leak everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from attnmask.audit.context import Context
from attnmask.audit.verdict import CouldNotRunError, Finding, Verdict

NAME = "texts of a batch are coupled"
WHAT = "a text gives something else beside another one, without any padding"


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    return ""


def run(context: Context) -> Iterator[Finding]:
    """The noise that every other probe is measured against."""
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
