"""What a report says can be run: its scripts are short, need no attnmask, and print the number that is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from attnmask.auditing import audit
from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.reproduction import comparison_script
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.audited_model import Run, plain_inputs
from attnmask.auditing.subject.subject_from_name import subject_from_type
from attnmask.errors import ArgumentError
from tests.zoo.bugs import BUGS
from tests.zoo.patches import PATCHES, planted


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch.model}: {patch.name}")
def test_a_reproduction_is_short_and_needs_no_attnmask(patch, monkeypatch) -> None:
    planted(patch, monkeypatch)
    for finding in audit(patch.model, mode=patch.mode, probes=[patch.probe]).bugs[:2]:
        assert len(finding.script.splitlines()) <= 20
        assert "attnmask" not in finding.script.replace("'attnmask'", "")


def test_a_reproduction_runs_by_itself_and_prints_no_difference_without_the_bug(monkeypatch) -> None:
    patch = next(one for one in PATCHES if one.name == "no padding under sdpa")
    with monkeypatch.context() as planted_here:
        planted(patch, planted_here)
        finding = next(one for one in audit("llama", probes=["padding leak"]).bugs)
    code = finding.script + "\nimport sys; assert 'attnmask' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = float(re.findall(r"equal: (\S+)", done.stdout)[0])
    assert finding.number is not None
    assert finding.threshold is not None
    assert printed < 1e-6 < finding.number


def test_the_longest_reproduction_is_short() -> None:
    subject = subject_from_type("gpt2")
    assert subject.source[-1] == "model.double()"
    whole = Run(plain_inputs(subject), "eager")
    script = comparison_script(subject, Comparison.at(whole, replace(whole, chunks=(5,)), [(0, 0)]))
    assert len(script.splitlines()) <= 20


def test_a_report_comes_back_from_json() -> None:
    bug = next(bug for bug in BUGS if "one off" in bug.name)
    report = audit(bug.make(True), mask=bug.mask, redraw=True)
    again = Report.from_json(report.to_json())
    assert again == report
    assert [one.received for one in again.bugs] == [one.received for one in report.bugs]
    assert again.bugs[0].received is not None


def test_another_schema_is_refused() -> None:
    text = Report("m", ()).to_json().replace('"schema": 1', '"schema": 99')
    with pytest.raises(ArgumentError, match="99"):
        Report.from_json(text)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [([Verdict.OK], 0), ([Verdict.OK, Verdict.BUG], 1), ([Verdict.COULD_NOT_RUN, Verdict.NOT_APPLICABLE], 2)],
)
def test_exit_codes(verdicts, code) -> None:
    assert Report("m", tuple(Finding("p", verdict, "") for verdict in verdicts)).exit_code == code
