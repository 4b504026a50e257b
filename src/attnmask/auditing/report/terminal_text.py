"""Print a report on a terminal: bugs first, then one line for everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console, RenderableType
from rich.console import Group as Renderables
from rich.table import Table
from rich.text import Text

from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.summary import (
    FindingGroup,
    bug_groups,
    bug_lines,
    count,
    declared_in_words,
    finding_groups,
    headline,
)
from attnmask.auditing.report.verdict import Verdict
from attnmask.escapes import escaped

STYLES = {
    Verdict.BUG: "bold red",
    Verdict.COULD_NOT_RUN: "magenta",
    Verdict.NO_POWER: "yellow",
    Verdict.BY_DESIGN: "cyan",
    Verdict.OK: "green",
    Verdict.NOT_APPLICABLE: "dim",
}
# Verdicts for which only the names of the probes are printed.
NAMES_ALONE = (Verdict.OK, Verdict.NOT_APPLICABLE)
REDRAW_HINT = (
    "no power: a legal change hardly moves the outputs, so a wrong mask would not either; "
    "--redraw draws the weights anew"
)


def print_report(report: Report, console: Console) -> None:
    """Print a report.

    Args:
        report: of an audit. console: of rich.
    """
    bugs = bug_groups(report)
    style = {0: "bold green", 1: "bold red", 2: "bold magenta"}[report.exit_code]
    console.print(_text(headline(report), style))
    if report.declared:
        console.print(_text(f"declared: {declared_in_words(report)}", "dim"))
    for bug in bugs:
        console.print()
        console.print(_bug(bug))
    console.print()
    console.print(_verdicts(report))
    if Verdict.NO_POWER in report.verdicts.values():
        console.print(_text(REDRAW_HINT, "dim"))
    _print_script(bugs, console)


def _text(text: str, style: str = "") -> Text:
    """Names come from people's own code: no markup, and nothing that a terminal obeys."""
    return Text(escaped(text, lines=True), style)


def _bug(group: FindingGroup) -> RenderableType:
    title, *lines = bug_lines(group)
    table = Table.grid(padding=(0, 2))
    for line in lines:
        name, text = line.strip().split(maxsplit=1)
        table.add_row(_text(f"  {name}", "dim"), _text(text))
    return Renderables(_text(title, STYLES[Verdict.BUG]), table)


def _verdicts(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    for verdict, probes, why in _rows(report):
        table.add_row(_text(verdict, STYLES[verdict]), _text(probes), _text(why, "dim"))
    return table


def _rows(report: Report) -> Iterator[tuple[Verdict, str, str]]:
    """A row for each thing that is said of a probe; one for all that are just right, or do not apply."""
    own = report.verdicts
    for verdict, groups in groupby(finding_groups(report), lambda group: group.verdict):
        # Where nothing came to a result, why is all there is to say.
        if verdict in NAMES_ALONE and report.exit_code != 2:
            # A probe is ok if nothing else is said of it.
            names = dict.fromkeys(group.probe for group in groups if own[group.probe] is verdict)
            if names:
                yield verdict, count(len(names), "probe"), ", ".join(names)
            continue
        for group in groups:
            cells = count(len(group.findings), "cell")
            # What a bug is stands above.
            yield verdict, group.probe, cells if verdict is Verdict.BUG else f"{group.why} ({cells})"


def _print_script(bugs: list[FindingGroup], console: Console) -> None:
    with_script = [bug for bug in bugs if bug.first.script]
    if not with_script:
        return
    first, *others = with_script
    console.print(_text(f"\nto reproduce {first.probe}, without attnmask:\n", "bold"))
    # Lines of a script must come out as they are, whatever the width.
    console.print(_text(first.first.script), soft_wrap=True)
    if others:
        names = ", ".join(f'--probe "{name}"' for name in dict.fromkeys(bug.probe for bug in others))
        console.print(_text(f"\nthe other scripts: {names}, or --html FILE for all of them", "dim"))


def print_sweep(reports: Sequence[tuple[str, str, Report | None, str]], console: Console) -> int:
    """Print what the reports of many architectures come to.

    Args:
        reports: model type, mode, report, and why there is none. console: of rich.

    Returns:
        The exit code: 1 if any has a bug, 2 if none ran.
    """
    ran = [(name, mode, report) for name, mode, report, _ in reports if report is not None and report.ran]
    with_bugs = [(name, mode, report) for name, mode, report in ran if report.bugs]
    table = Table("model type", "mode", "bug", "since", "why", box=None, header_style="dim", pad_edge=False)
    for name, mode, report in with_bugs:
        for bug in bug_groups(report):
            table.add_row(name, mode, _text(bug.probe, STYLES[Verdict.BUG]), _text(bug.first.since), _text(bug.why))
    if with_bugs:
        console.print(table)
    not_run = [f"{name} {mode}: {why}" for name, mode, report, why in reports if report is None or not report.ran]
    for line in not_run:
        console.print(_text(f"could not run: {line}", "dim"))
    console.print(f"{len(ran)} of {len(reports)} architectures ran, {len(with_bugs)} with bugs")
    return 1 if with_bugs else 0 if ran else 2
