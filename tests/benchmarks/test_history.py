"""The page of past bugs: what counts as seen, and what the file must say."""

from __future__ import annotations

import re

import pytest
from packaging.version import Version

from attnmask.auditing.probes import PROBES
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict
from studies.bug_history import NEEDS, PAGE, Bug, bugs, page_of

BUG = Bug(
    "a-leak", "A leak", "llama", "causal", "padding leak", "someone/something#12", "4.57.0", "5.0.0", "It leaked.",
    {"implementation": "sdpa"},
)  # fmt: skip


def _report(verdict: Verdict, probe: str = "padding leak", implementation: str = "sdpa") -> Report:
    cell = {"implementation": implementation}
    return Report("llama", (Finding(probe, verdict, "pads are seen", cell, 0.5, 0.1, 1.0, "layers.1", "no mask"),))


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (_report(Verdict.BUG), _report(Verdict.OK), True),
        (_report(Verdict.OK), _report(Verdict.OK), False),
        (_report(Verdict.BUG), _report(Verdict.BUG), False),
        (_report(Verdict.BUG), _report(Verdict.COULD_NOT_RUN), False),
        (_report(Verdict.BUG, probe="reach"), _report(Verdict.OK), False),
        (_report(Verdict.BUG, implementation="eager"), _report(Verdict.OK), False),
    ],
)
def test_a_bug_is_seen_before_its_fix_and_the_same_probe_runs_behind_it(
    before: Report, after: Report, holds: bool
) -> None:
    assert BUG.holds(before, after) is holds


def test_the_page_names_the_release_what_was_said_and_where_it_was_reported() -> None:
    page = page_of([(BUG, _report(Verdict.BUG), _report(Verdict.OK))])
    for word in (
        "1 of 1 are seen", "[someone/something#12](https://github.com/someone/something/issues/12)", "4.57.0",
        "**bug** in 1 of 1 cells", "| 5.0.0 | ok |", "pads are seen (0.5 of the outputs' size); since",
    ):  # fmt: skip
        assert word in page
    assert "0 of 1 are seen" in page_of([(BUG, _report(Verdict.OK), _report(Verdict.OK))])


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug.slug)
def test_a_row_of_the_file_is_complete_and_on_the_page(bug: Bug) -> None:
    assert bug.probe in {probe.NAME for probe in PROBES}
    assert re.fullmatch(r"[\w-]+/[\w-]+#\d+(, [\w-]+/[\w-]+#\d+)*", bug.reported)
    assert Version(NEEDS[-1][0]) <= Version(bug.broken) < Version(bug.fixed)
    assert bug.text.strip()
    assert f"## {bug.title}" in PAGE.read_text()


def test_no_row_twice() -> None:
    slugs = [bug.slug for bug in bugs()]
    assert len(set(slugs)) == len(slugs)
