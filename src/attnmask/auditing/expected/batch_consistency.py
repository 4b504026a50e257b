"""What is by design in one batch is so in all: a mask that is heeded in some of them is one that others leave out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from attnmask.auditing.report.verdict import Finding, Verdict

LEFT_OUT = "the mask is heeded in a batch of {other}, and left out in one of {own}"


def unless_batches_differ(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings of one probe; what is excused in a batch of one size alone is a bug.

    >>> cells = [{"batch": "1"}, {"batch": "2"}]
    >>> verdicts = (Verdict.BY_DESIGN, Verdict.OK)
    >>> for one in unless_batches_differ(Finding("p", v, "w", c, script="x") for v, c in zip(verdicts, cells)):
    ...     print(one.verdict, one.cause)
    bug the mask is heeded in a batch of 2, and left out in one of 1
    ok
    """
    found = list(findings)
    for finding in found:
        others = [one for one in found if one.verdict is Verdict.OK and _beside(one) == _beside(finding)]
        if finding.verdict is Verdict.BY_DESIGN and finding.script and others:
            cause = LEFT_OUT.format(other=others[0].cell["batch"], own=finding.cell["batch"])
            yield replace(finding, verdict=Verdict.BUG, cause=cause)
        else:
            yield finding


def _beside(finding: Finding) -> dict[str, str]:
    return {name: value for name, value in finding.cell.items() if name != "batch"}
