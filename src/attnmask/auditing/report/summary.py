"""Summarise a report in words, for the terminal, the HTML page, JUnit XML and failing tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.report.audit_report import RESULTS, Report
from attnmask.auditing.report.verdict import Finding, Verdict

MAX_VALUES_SHOWN = 4
NOT_BUGS = (Verdict.OK, Verdict.BY_DESIGN)


@dataclass(frozen=True)
class FindingGroup:
    """Cells of one probe that say the same.

    Attributes:
        findings: one per cell, the largest number first. others: findings of the probe in other groups.
    """

    findings: tuple[Finding, ...]
    others: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        """The finding with the largest number."""
        return self.findings[0]

    @property
    def probe(self) -> str:
        """Name of the probe."""
        return self.first.probe

    @property
    def verdict(self) -> Verdict:
        """What became of it."""
        return self.first.verdict

    @property
    def is_exception(self) -> bool:
        """Whether it would be a bug, had the user not declared it to be none."""
        return self.first.cause.startswith("declared: ")

    @property
    def why(self) -> str:
        """The cause; else what was seen, or what was looked for in vain."""
        looked_for = self.verdict is Verdict.OK and not self.first.what.startswith("refused")
        return self.first.cause or ("looked for: " if looked_for else "") + self.first.what

    @property
    def where(self) -> str:
        """The cells, axis by axis, and beside each the values that alone make all well.

        >>> bad = Finding("p", Verdict.BUG, "", {"padding": "left", "batch": "1"})
        >>> good = Finding("p", Verdict.OK, "", {"padding": "left", "batch": "2"})
        >>> FindingGroup((bad,), (good,)).where
        'padding left, batch 1 (not 2)'
        """
        axes = dict.fromkeys(axis for finding in self.findings for axis in finding.cell)
        return ", ".join(filter(None, (self._axis(axis) for axis in axes)))

    def _axis(self, axis: str) -> str:
        own = _values(axis, self.findings)
        besides = [_without(axis, one) for one in self.findings]
        fine = _values(axis, [one for one in self.others if one.verdict in NOT_BUGS and _without(axis, one) in besides])
        if not own:
            return ""
        return f"{axis} {_some(own)}{f' (not {_some(fine)})' if fine else ''}"

    @property
    def size(self) -> str:
        """The measured number with its power and threshold."""
        return measurement_text(self.first)

    @property
    def layers(self) -> tuple[LayerMask, ...]:
        """The masks of every layer, from the first finding that has them."""
        return next((finding.layers for finding in self.findings if finding.layers), ())

    @property
    def wrong_layers(self) -> str:
        """Which layers attend to other keys than declared."""
        wrong = [each.layer for each in self.layers if each.extra or each.missing]
        return f"{len(wrong)} of {len(self.layers)} layers attend to other keys than declared" if self.layers else ""


def finding_groups(report: Report) -> list[FindingGroup]:
    """All findings, those that say the same together: bugs first, and of these the ones whose layer is known."""
    groups = [_group(report, findings) for findings in report.groups()]
    bugs = [group for group in groups if group.verdict is Verdict.BUG]
    others = [group for group in groups if group.verdict is not Verdict.BUG]
    return sorted(bugs, key=lambda group: not group.first.since) + others


def bug_groups(report: Report) -> list[FindingGroup]:
    """Groups that are bugs."""
    return [group for group in finding_groups(report) if group.verdict is Verdict.BUG]


def _group(report: Report, findings: list[Finding]) -> FindingGroup:
    largest_first = sorted(findings, key=lambda finding: -(finding.number or 0.0))
    others = [one for one in report.findings if one.probe == findings[0].probe]
    return FindingGroup(tuple(largest_first), tuple(one for one in others if one not in findings))


def headline(report: Report) -> str:
    """One line: what it comes to.

    >>> headline(Report("Net", (Finding("future leak", Verdict.OK, ""),), 2.0))
    'Net: no bug found by 1 probe, 2.0 s'
    """
    bugs = bug_groups(report)
    applied = {one.probe for one in report.findings if one.verdict is not Verdict.NOT_APPLICABLE}
    looked = {one.probe for one in report.findings if one.verdict in RESULTS}
    if report.exit_code == 2:
        return f"{report.model}: could not be audited, no probe came to a result"
    cells = len(report.bugs)
    said = f"{count(len(bugs), 'bug')} in {count(cells, 'cell')}" if bugs else "no bug found"
    silent = f", {len(applied - looked)} without a result" if applied - looked else ""
    return f"{report.model}: {said} by {count(len(looked), 'probe')}{silent}, {report.seconds:.1f} s"


def declared_in_words(report: Report) -> str:
    """The masks of the layers, equal neighbours together.

    >>> declared_in_words(Report("Net", (), declared=("causal()", "causal()", "full()")))
    'causal() in 2 layers, full() in 1 layer'
    """
    runs = ((mask, len(list(layers))) for mask, layers in groupby(report.declared))
    return ", ".join(f"{mask} in {count(layers, 'layer')}" for mask, layers in runs)


def measurement_text(finding: Finding) -> str:
    """A finding's number, beside the power and the threshold; empty where nothing was measured."""
    if finding.number is None:
        return ""
    if not math.isfinite(finding.number):
        return "an output is not finite"
    if finding.power is None:
        return ""
    return (
        f"outputs differ by {finding.number:.2g} times their mean size; "
        f"a legal change does {finding.power:.2g}, more than {finding.threshold:.1g} is a bug"
    )


def text_from_report(report: Report) -> str:
    """The bugs of a report as plain text: what, since which layer, why, where, and how to reproduce the first."""
    bugs = bug_groups(report)
    blocks = [headline(report), *("\n".join(bug_lines(bug)) for bug in bugs)]
    scripts = [bug for bug in bugs if bug.first.script]
    if scripts:
        blocks += [f"to reproduce {scripts[0].probe}:\n\n{scripts[0].first.script}"]
    if report.exit_code == 2:
        blocks += ["\n".join(f"{group.probe}: {group.verdict}, {group.why}" for group in finding_groups(report))]
    return "\n\n".join(blocks)


def bug_lines(group: FindingGroup) -> list[str]:
    """What a bug is, a line for each thing that is known."""
    first = group.first
    known = {
        "what": first.what,
        "since": "; ".join(filter(None, (first.since, group.wrong_layers))) if first.since else "",
        "cause": first.cause,
        "where": group.where,
        "size": group.size,
    }
    return [f"bug: {group.probe}", *(f"  {name:<6} {text}" for name, text in known.items() if text)]


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "cell"), count(2, "cell")
    ('1 cell', '2 cells')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _without(axis: str, finding: Finding) -> dict[str, str]:
    return {name: value for name, value in finding.cell.items() if name != axis}


def _values(axis: str, findings: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(value for one in findings if (value := one.cell.get(axis, ""))))


def _some(values: list[str]) -> str:
    shown = values[:MAX_VALUES_SHOWN]
    return "/".join(shown) + (f" and {len(values) - len(shown)} more" if len(values) > len(shown) else "")
