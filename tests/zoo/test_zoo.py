"""Every planted bug is found under its right name, and its repaired twin is clean."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import attnmask as am
from attnmask.auditing.report.audit_report import Report
from tests.zoo.bugs import BUGS, Bug


def audited(bug: Bug, planted: bool, probes: Sequence[str] = ()) -> Report:
    return am.audit(bug.make(planted), mask=bug.mask, redraw=True, probes=probes)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_it_is_found(bug: Bug) -> None:
    report = audited(bug, planted=True, probes=[bug.probe])
    found = [finding for finding in report.bugs if finding.probe == bug.probe]
    assert found, str(report)
    assert any(bug.cause in f"{finding.cause} {finding.since} {finding.what}" for finding in found), str(report)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_its_twin_is_clean(bug: Bug) -> None:
    report = audited(bug, planted=False)
    assert report.exit_code == 0, str(report)


def test_the_zoo_is_large() -> None:
    assert len(BUGS) >= 40
    assert len({bug.probe for bug in BUGS}) >= 12
