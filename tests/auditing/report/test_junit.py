"""The report as JUnit XML, read by another library."""

from __future__ import annotations

import pytest

junitparser = pytest.importorskip("junitparser")

from attnmask.auditing.report.audit_report import Report  # noqa: E402
from attnmask.auditing.report.junit_xml import junit_from_report  # noqa: E402
from attnmask.auditing.report.verdict import Finding, Verdict  # noqa: E402
from tests.auditing.report.reports import SCRIPT, full_report, report_of  # noqa: E402


def suite_of(report: Report) -> junitparser.TestSuite:
    (suite,) = junitparser.JUnitXml.fromstring(junit_from_report(report).encode())
    return suite


def outcomes(report: Report) -> dict[str, str]:
    """What the reader takes each case for."""
    kinds = ("is_passed", "is_failure", "is_error", "is_skipped")
    return {case.name: next(kind for kind in kinds if getattr(case, kind)) for case in suite_of(report)}


def test_a_probe_is_a_case_and_a_bug_a_failure() -> None:
    assert outcomes(full_report()) == {
        "padding leak: no mask arrives": "is_failure",
        "padding leak: another cause": "is_failure",
        "additive constant": "is_failure",
        "future leak": "is_passed",
        "padding inequality": "is_passed",
        "reach": "is_skipped",
        "packed leak": "is_skipped",
        "gradients": "is_skipped",
    }


def test_the_counts_are_those_of_the_cases() -> None:
    suite = suite_of(full_report())
    given = (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped, suite.time)
    assert given == ("attnmask audit Net <b>", 8, 3, 0, 3, 1.5)
    suite.update_statistics()
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == given[1:5]


def test_reasons_are_told() -> None:
    cases = {case.name: case for case in suite_of(full_report())}
    failure = cases["padding leak: no mask arrives"].result[0]
    assert failure.message == "no mask arrives"
    assert SCRIPT in failure.text
    assert "since  layers.1" in failure.text
    assert cases["gradients"].result[0].message == "could not run: RuntimeError: no such shape"
    assert "declared: shifted" in cases["padding inequality"].system_out


def test_a_model_that_could_not_be_audited_is_an_error() -> None:
    report = report_of(Finding("gradients", Verdict.COULD_NOT_RUN, "RuntimeError"))
    assert outcomes(report) == {"gradients": "is_skipped", "audit": "is_error"}


def test_signs_that_xml_cannot_hold_are_escaped() -> None:
    report = report_of(Finding("gradients", Verdict.BUG, "it said \x1b[31mred\x00"))
    (case,) = suite_of(report)
    assert case.result[0].message == r"it said \x1b[31mred\x00"
