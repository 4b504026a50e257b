"""Report differences between batch sizes: if only one batch size ignores the mask, the cause is a bug."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from attnmask.auditing.report.verdict import Finding, Verdict

IGNORED_IN_ONE_BATCH = "the mask is applied in a batch of {other} and ignored in a batch of {own}"


def mark_inconsistent_batches(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Change findings of one probe from "by design" to "bug" if another batch size passes.

    >>> cells = [{"batch": "1"}, {"batch": "2"}]
    >>> verdicts = (Verdict.BY_DESIGN, Verdict.OK)
    >>> for one in mark_inconsistent_batches(Finding("p", v, "w", c, script="x") for v, c in zip(verdicts, cells)):
    ...     print(one.verdict, one.cause)
    bug the mask is applied in a batch of 2 and ignored in a batch of 1
    ok
    """
    found = list(findings)
    for finding in found:
        others = [
            one
            for one in found
            if one.verdict is Verdict.OK and _cell_without_batch(one) == _cell_without_batch(finding)
        ]
        if finding.verdict is Verdict.BY_DESIGN and finding.script and others:
            cause = IGNORED_IN_ONE_BATCH.format(other=others[0].cell["batch"], own=finding.cell["batch"])
            yield replace(finding, verdict=Verdict.BUG, cause=cause)
        else:
            yield finding


def _cell_without_batch(finding: Finding) -> dict[str, str]:
    return {name: value for name, value in finding.cell.items() if name != "batch"}
