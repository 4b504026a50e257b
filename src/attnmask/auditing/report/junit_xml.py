"""Write a report as JUnit XML, with a test case for each probe, which CI systems show among the tests."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.summary import FindingGroup, bug_lines, count, finding_groups, headline
from attnmask.auditing.report.verdict import Verdict
from attnmask.escapes import escaped

# Of these a probe came to no result.
SKIPPED = (Verdict.NOT_APPLICABLE, Verdict.COULD_NOT_RUN, Verdict.NO_POWER)


def junit_from_report(report: Report) -> str:
    """A report as JUnit XML.

    A bug is a failure, and a probe that finds several has a case for each. A probe that does not apply, could not run
    or had no power is skipped. What is by design passes, and the output of its case says why. Where no probe came to
    a result there is an error.

    >>> junit_from_report(Report("Net", ())).splitlines()[1]
    '<testsuites>'
    """
    suites = Element("testsuites")
    suite = SubElement(suites, "testsuite", name=_clean(f"attnmask audit {report.model}"))
    groups = finding_groups(report)
    for probe, verdict in report.verdicts.items():
        _add_cases(suite, verdict, [group for group in groups if group.probe == probe])
    if report.exit_code == 2:
        SubElement(SubElement(suite, "testcase", name="audit"), "error", message=_clean(headline(report)))
    for case in suite:
        case.attrib |= {"classname": _clean(f"attnmask.auditing.{report.model}"), "time": "0"}
    counts = {"tests": "testcase", "failures": ".//failure", "errors": ".//error", "skipped": ".//skipped"}
    suite.attrib |= {name: str(len(suite.findall(path))) for name, path in counts.items()}
    suite.set("time", f"{report.seconds:.3f}")
    indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(suites, encoding="unicode") + "\n"


def _add_cases(suite: Element, verdict: Verdict, groups: list[FindingGroup]) -> None:
    """The case of a probe; one for each bug, as most readers show but one failure of a case."""
    bugs = [group for group in groups if group.verdict is Verdict.BUG]
    for bug in bugs:
        name = bug.probe if len(bugs) == 1 else f"{bug.probe}: {bug.why}"
        case = SubElement(suite, "testcase", name=_clean(name))
        failure = SubElement(case, "failure", type="bug", message=_clean(bug.why))
        failure.text = _clean("\n".join([*bug_lines(bug), "", bug.first.script]))
    if not bugs:
        case = SubElement(suite, "testcase", name=_clean(groups[0].probe))
        if verdict in SKIPPED:
            SubElement(case, "skipped", message=_clean(f"{verdict}: {groups[0].why}"))
        said = [f"{group.verdict}, {count(len(group.findings), 'cell')}: {group.why}" for group in groups]
        SubElement(case, "system-out").text = _clean("\n".join(said))


def _clean(text: str) -> str:
    """Text that XML can hold: it has no sign for most control characters."""
    return escaped(text, lines=True)
