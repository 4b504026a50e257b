"""Mask bugs that people reported against releases of transformers: the audit, before the fix and behind it.

``python -m studies.bug_history`` writes docs/audit-history.md from studies/history.toml. Each release that the file
names is installed once, by pip, into a folder of its own; an audit takes some seconds. It exits with 1 if a row does
not hold.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from packaging.version import Version
from rich.progress import track

from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audit-history.md"
BUGS = Path(__file__).with_name("history.toml")
# From this release of transformers on: the tokenizers and the huggingface_hub that it takes.
NEEDS = (
    ("5.14", "0.23.3", "2.4.0"),
    ("5.0.0rc0", "0.22.2", "1.33.0"),
    ("4.56", "0.22.2", "0.36.2"),
    ("4.50", "0.21.4", "0.36.2"),
)
AUDIT = """
import sys
from attnmask.auditing.run_probes import report_of
from attnmask.auditing.subject.subject_from_name import quiet, subject_from_type
with quiet():
    text = report_of(subject_from_type(*sys.argv[1:3]), probes=sys.argv[3:]).to_json()
sys.__stdout__.write(text)
"""
HEAD = """# Mask bugs of past releases

Written by `python -m studies.bug_history` with torch {torch}. Each was reported in public. The architecture is made
tiny from its own config, with random weights, in a release that has the bug and in one that has its fix, and
audited by the same code, with nothing said about the bug. {holding} of {all} are seen before the fix and not behind it.

| bug | reported | type | probe | has it | said | fixed | said |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Bug:
    """One row of the file.

    Attributes:
        slug: its name. title: one line. model: type. mode: of the audit. probe: that sees it.
        reported: repository#number, several by commas. broken, fixed: releases. text: what the code did, and does.
        cell: where the probe must see it, such as {"implementation": "sdpa"}; anywhere if left out.
    """

    slug: str
    title: str
    model: str
    mode: str
    probe: str
    reported: str
    broken: str
    fixed: str
    text: str
    cell: Mapping[str, str] = field(default_factory=dict[str, str])

    def findings(self, report: Report) -> list[Finding]:
        """What a report says of it."""
        own = [finding for finding in report.findings if finding.probe == self.probe]
        return [finding for finding in own if self.cell.items() <= dict(finding.cell).items()]

    def holds(self, before: Report, after: Report) -> bool:
        """Whether the bug is seen before the fix, and behind it the probe ran and sees none."""
        seen, left = ({finding.verdict for finding in self.findings(report)} for report in (before, after))
        return Verdict.BUG in seen and Verdict.BUG not in left and Verdict.OK in left

    @property
    def links(self) -> str:
        """Where it was reported."""
        split = [one.strip().split("#") for one in self.reported.split(",")]
        return ", ".join(f"[{name}#{number}](https://github.com/{name}/issues/{number})" for name, number in split)


def bugs() -> list[Bug]:
    """The rows of the file beside this one."""
    return [Bug(**one) for one in tomllib.loads(BUGS.read_text())["bug"]]


def page_of(rows: Sequence[tuple[Bug, Report, Report]]) -> str:
    """The page: a table, then what each was.

    Args:
        rows: the bug, and the reports before and behind its fix.
    """
    holding = sum(bug.holds(before, after) for bug, before, after in rows)
    head = HEAD.format(torch=torch.__version__.split("+")[0], holding=holding, all=len(rows))
    lines = [
        f"| [{bug.title}](#{bug.slug}) | {bug.links} | {bug.model} ({bug.mode}) | {bug.probe} | {bug.broken} "
        f"| {_said(bug, before)} | {bug.fixed} | {_said(bug, after)} |"
        for bug, before, after in rows
    ]
    return "\n".join([head + "\n".join(lines), *(_section(bug, before) for bug, before, _ in rows)])


def _said(bug: Bug, report: Report) -> str:
    own = bug.findings(report)
    found = [finding for finding in own if finding.verdict is Verdict.BUG]
    if found:
        return f"**bug** in {len(found)} of {len(own)} cells"
    return ", ".join(sorted({str(finding.verdict) for finding in own})) or "nothing"


def _section(bug: Bug, before: Report) -> str:
    found = [finding for finding in bug.findings(before) if finding.verdict is Verdict.BUG]
    lines = [f"\n<a id={bug.slug!r}></a>\n", f"## {bug.title}\n", bug.text.strip()]
    if found:
        first = max(found, key=lambda finding: (bool(finding.since), finding.number or 0.0))
        measured = f" ({first.number:.2g} of the outputs' size)" if first.number else ""
        since = f"; since `{first.since}`" if first.since else ""
        lines += ["", f"The audit in {bug.broken}: {first.what}{measured}{since}: {first.cause or 'no cause named'}."]
        lines += [f"Seen with {first.where}."]
    return "\n".join(lines)


def installed(release: str, folder: Path) -> Path:
    """A folder that holds a release of transformers and what it asks for beyond this environment."""
    own = folder / release
    if not (own / f"transformers-{release}.dist-info").exists():
        _, tokenizers, hub = next(need for need in NEEDS if Version(need[0]) <= Version(release))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(own)]
        subprocess.run([*pip, f"tokenizers=={tokenizers}", f"huggingface_hub=={hub}", "requests"], check=True)
        subprocess.run([*pip, "--no-deps", f"transformers=={release}"], check=True)
    return own


def report_in(release: Path, model: str, mode: str, probe: str) -> Report:
    """The audit in a process that has a release of transformers before that of this environment."""
    paths = [str(release), str(ROOT / "src")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, model, mode, probe],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{model} ({mode}) in {release.name}: {done.stderr[-2000:]}")
    return Report.from_json(done.stdout)


def main() -> int:
    """Install, audit, write."""
    parser = argparse.ArgumentParser(description="Audit past releases of transformers for bugs that were reported.")
    parser.add_argument("--folder", type=Path, default=Path("build/history"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="slugs; the page is not written")
    arguments = parser.parse_args()
    chosen = [bug for bug in bugs() if not arguments.only or bug.slug in arguments.only]
    releases = sorted({release for bug in chosen for release in (bug.broken, bug.fixed)})
    folders = {
        release: installed(release, arguments.folder.absolute()) for release in track(releases, description="releases")
    }

    def audited(bug: Bug) -> tuple[Bug, Report, Report]:
        before, after = (
            report_in(folders[release], bug.model, bug.mode, bug.probe) for release in (bug.broken, bug.fixed)
        )
        return bug, before, after

    with ThreadPoolExecutor(arguments.processes) as pool:
        rows = list(track(pool.map(audited, chosen), total=len(chosen), description="audits"))
    for bug, before, after in rows:
        print("holds " if bug.holds(before, after) else "FAILS ", bug.slug, _said(bug, before), "|", _said(bug, after))
    if not arguments.only:
        PAGE.write_text(page_of(rows))
    return 0 if all(bug.holds(before, after) for bug, before, after in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
