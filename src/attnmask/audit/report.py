"""The report of an audit: every finding, and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from attnmask.audit.verdict import Finding, Verdict
from attnmask.compile.plan import Plan

SCHEMA = 1
# What a probe comes to, where its cells differ: the first of these that any of them says.
ORDER = (
    Verdict.BUG, Verdict.COULD_NOT_RUN, Verdict.NO_POWER, Verdict.BY_DESIGN, Verdict.OK, Verdict.NOT_APPLICABLE,
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What was found of one model.

    Attributes:
        model: its name. findings: of every probe and cell. seconds: what the audit took.
        versions: of the libraries. declared: the mask of each layer, in words.
    """

    model: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict[str, str])
    declared: tuple[str, ...] = ()

    @property
    def bugs(self) -> list[Finding]:
        """Findings that are bugs."""
        return [finding for finding in self.findings if finding.verdict is Verdict.BUG]

    @property
    def ran(self) -> bool:
        """Whether any probe came to a result."""
        return any(finding.verdict not in (Verdict.COULD_NOT_RUN, Verdict.NOT_APPLICABLE) for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 could not run."""
        return 1 if self.bugs else 0 if self.ran else 2

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What each probe comes to."""
        found: dict[str, set[Verdict]] = {}
        for finding in self.findings:
            found.setdefault(finding.probe, set()).add(finding.verdict)
        return {probe: next(one for one in ORDER if one in verdicts) for probe, verdicts in found.items()}

    def groups(self) -> Iterator[list[Finding]]:
        """Findings that say the same of several cells, those of a probe together, the worst first."""

        def key(finding: Finding) -> tuple[int, str, str, str]:
            return (
                ORDER.index(finding.verdict),
                finding.probe,
                finding.cause,
                finding.what if finding.cause == "" else "",
            )

        for _, group in groupby(sorted(self.findings, key=key), key):
            yield list(group)

    def to_json(self) -> str:
        """The report as JSON, from which ``Report.from_json`` makes an equal one."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "model": self.model,
                "exit_code": self.exit_code,
                "seconds": self.seconds,
                "versions": self.versions,
                "declared": self.declared,
                "findings": [_plain(finding) for finding in self.findings],
            },
            indent=1,
        )

    @staticmethod
    def from_json(text: str) -> Report:
        """The report that ``to_json`` wrote."""
        from attnmask.errors import ArgumentError

        values = json.loads(text)
        if values.get("schema") != SCHEMA:
            raise ArgumentError(
                f"schema is {values.get('schema')}", where="Report.from_json", fix=f"this version reads {SCHEMA}"
            )
        findings = tuple(_finding(one) for one in values["findings"])
        return Report(values["model"], findings, values["seconds"], values["versions"], tuple(values["declared"]))

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.bugs)} findings"]
        for group in self.groups():
            first = group[0]
            if first.verdict is Verdict.BUG:
                since = f", since {first.since}" if first.since else ""
                lines.append(f"  {first.probe}: {first.cause or first.what}{since} ({len(group)} cells, {first.where})")
        return "\n".join(lines)


def _plain(finding: Finding) -> dict[str, Any]:
    plans = {"expected": _text(finding.expected), "received": _text(finding.received)}
    return asdict(finding, dict_factory=_without_plans) | plans


def _without_plans(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if not isinstance(value, Plan)}


def _text(plan: Plan | None) -> str | None:
    return None if plan is None else plan.to_json()


def _finding(values: dict[str, Any]) -> Finding:
    plans = {name: None if values[name] is None else Plan.from_json(values[name]) for name in ("expected", "received")}
    given: dict[str, Any] = values | plans | {"verdict": Verdict(values["verdict"])}
    return Finding(**given)
