"""The report of an audit: all findings, and the verdict of each probe.

``run_probes.audit_subject`` makes a Report of ``verdict.Finding`` objects. ``summary`` groups its findings and puts
them into words, which ``terminal_text``, ``html_page`` and ``junit_xml`` show; this module writes and reads its JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import Any

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.compiler.plan import Plan
from attnmask.errors import ArgumentError

SCHEMA = 1
RESULTS = (Verdict.OK, Verdict.BUG, Verdict.BY_DESIGN)
# If the cells of a probe have different verdicts, the probe has the first of these.
ORDER = (
    Verdict.BUG, Verdict.COULD_NOT_RUN, Verdict.NO_POWER, Verdict.BY_DESIGN, Verdict.OK, Verdict.NOT_APPLICABLE,
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What was found of one model.

    Attributes:
        model: its name. findings: of every probe and cell. seconds: what the audit took.
        versions: of the libraries. declared: the mask of each layer, in words.
        layers: what each layer attends to on a batch of two, one of them padded on the left.
    """

    model: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict[str, str])
    declared: tuple[str, ...] = ()
    layers: tuple[LayerMask, ...] = field(default=(), compare=False, repr=False)

    @property
    def bugs(self) -> list[Finding]:
        """Findings that are bugs."""
        return [finding for finding in self.findings if finding.verdict is Verdict.BUG]

    @property
    def ran(self) -> bool:
        """Whether any probe came to a result."""
        return any(finding.verdict in RESULTS for finding in self.findings)

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
        """The report as JSON, from which ``Report.from_json`` makes an equal one.

        Version 1 of the schema; later versions of attnmask may add members to it, never change or remove one::

            schema      1
            model       its name
            exit_code   0 clean, 1 findings, 2 could not run
            seconds     what the audit took
            versions    {"attnmask": ..., "torch": ..., "transformers": ...}, of those installed
            declared    masks of the layers, as text
            layers      [{"layer", "expected", "received", "is_exact"}], on a batch of two, one padded on the left
            findings    [{"probe", "verdict", "what", "cell", "number", "threshold", "power", "since", "cause",
                        "script", "expected", "received", "layers"}]

        A verdict is "ok", "bug", "by design", "no power", "not applicable" or "could not run". A cell is an object
        of text. Numbers are null where nothing is measured, and "inf" where an output is not finite. ``expected``
        and ``received`` hold JSON text for ``Plan.from_json``, or null.

        >>> print(Report("empty", ()).to_json().splitlines()[1])
         "schema": 1,
        """
        return json.dumps(
            {
                "schema": SCHEMA,
                "model": self.model,
                "exit_code": self.exit_code,
                "seconds": self.seconds,
                "versions": self.versions,
                "declared": self.declared,
                "layers": [layer.to_plain() for layer in self.layers],
                "findings": [_json_values(finding) for finding in self.findings],
            },
            indent=1,
            allow_nan=False,
        )

    @staticmethod
    def from_json(text: str) -> Report:
        """The report that ``to_json`` wrote.

        Args:
            text: JSON.

        Raises:
            ArgumentError: it is no report, or one of another version.
        """
        try:
            values = json.loads(text)
            schema = values["schema"]
        except (ValueError, TypeError, KeyError):
            raise ArgumentError(
                "the text is no report", where="Report.from_json", fix="give what to_json wrote"
            ) from None
        if schema != SCHEMA:
            raise ArgumentError(f"schema is {schema}", where="Report.from_json", fix=f"this version reads {SCHEMA}")
        return Report(
            values["model"],
            tuple(_finding(one) for one in values["findings"]),
            values["seconds"],
            values["versions"],
            tuple(values["declared"]),
            _layers(values),
        )

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.bugs)} findings"]
        for group in self.groups():
            first = group[0]
            if first.verdict is Verdict.BUG:
                since = f", since {first.since}" if first.since else ""
                lines.append(f"  {first.probe}: {first.cause or first.what}{since} ({len(group)} cells, {first.where})")
        return "\n".join(lines)


NUMBERS = ("number", "threshold", "power")
PLANS = ("expected", "received")


def _json_values(finding: Finding) -> dict[str, Any]:
    values = {each.name: getattr(finding, each.name) for each in fields(finding)}
    plans = {name: None if values[name] is None else values[name].to_json() for name in PLANS}
    numbers = {name: _text_if_not_finite(values[name]) for name in NUMBERS}
    layers = [layer.to_plain() for layer in finding.layers]
    return values | {"cell": dict(finding.cell), "layers": layers} | plans | numbers


def _text_if_not_finite(number: float | None) -> float | str | None:
    # JSON has no infinity.
    return number if number is None or math.isfinite(number) else str(number)


def _finding(values: dict[str, Any]) -> Finding:
    plans = {name: None if values[name] is None else Plan.from_json(values[name]) for name in PLANS}
    numbers = {name: None if values[name] is None else float(values[name]) for name in NUMBERS}
    read: dict[str, Any] = {"verdict": Verdict(values["verdict"]), "layers": _layers(values), **plans, **numbers}
    return Finding(**(values | read))


def _layers(values: dict[str, Any]) -> tuple[LayerMask, ...]:
    # A report of an earlier version has none.
    return tuple(LayerMask.from_plain(one) for one in values.get("layers", ()))
