"""The audit of every text architecture of transformers, and the page that says what came of it.

``python -m studies.architecture_audits`` writes docs/audit-transformers.md and the reproductions beside it. Reports
stay in a folder and are not made again; a sweep takes about a quarter of an hour on two cores, the reproductions a few
minutes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from rich.progress import track

from attnmask.auditing.probes import PROBES
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.sweep import entries, read_reports, sweep

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audit-transformers.md"
SCRIPTS = ROOT / "docs" / "audit-transformers"
NOTES = Path(__file__).with_name("audit_notes.toml")
LETTERS = {
    Verdict.OK: "·", Verdict.BUG: "**B**", Verdict.BY_DESIGN: "d", Verdict.NO_POWER: "p",
    Verdict.NOT_APPLICABLE: " ", Verdict.COULD_NOT_RUN: "x",
}  # fmt: skip
HEAD = """# The audit over transformers

Written by `python -m studies.architecture_audits` with transformers {transformers} and torch {torch}. Every
architecture that reads ids is made tiny from its own config, in each mode it has (causal, masked, encoder-decoder; the
base model where it has none of them), with weights drawn so that masks show, and audited on texts of 20 and 13 tokens.

{entries} entries; {ran} ran, {clean} of them without a finding; {bugs} have findings that are bugs, of {causes}
causes. Those under "Bugs" were looked into by reading the modelling code; the reproduction of each was run by itself,
without attnmask, and prints the number.
"""


@dataclass(frozen=True)
class Note:
    """What reading the code of a finding came to.

    Attributes:
        slug: name of its reproduction. title: one line. models: model types. probes: what found it. text: the code.
    """

    slug: str
    title: str
    models: tuple[str, ...]
    probes: tuple[str, ...]
    text: str

    def covers(self, model_type: str, finding: Finding) -> bool:
        """Whether a finding is one of these."""
        return model_type in self.models and finding.probe in self.probes


@dataclass(frozen=True)
class Entry:
    """One architecture in one mode: its report, or why there is none."""

    model_type: str
    mode: str
    report: Report | None
    why: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model_type} ({self.mode})"


def notes() -> list[Note]:
    """The notes, from the file beside this one."""
    found = tomllib.loads(NOTES.read_text())["note"]
    return [Note(one["slug"], one["title"], tuple(one["models"]), tuple(one["probes"]), one["text"]) for one in found]


def page_of(all_entries: Sequence[Entry], known: Sequence[Note], printed: dict[str, str]) -> str:
    """The page: bugs by their cause, what is by design, what did not run, and every entry.

    Args:
        printed: by slug, what the reproduction printed.
    """
    ran = [entry for entry in all_entries if entry.report is not None]
    bugs = [entry for entry in ran if entry.report is not None and entry.report.bugs]
    seen = [note for note in known if any(True for _ in _findings(ran, note))]
    head = HEAD.format(
        transformers=transformers.__version__, torch=torch.__version__.split("+")[0], entries=len(all_entries),
        ran=len(ran), clean=len(ran) - len(bugs), bugs=len(bugs), causes=len(seen),
    )  # fmt: skip
    parts = [head, *_unexplained(ran, known), "## Bugs\n", *(_section(ran, note, printed) for note in seen)]
    return "\n".join([*parts, _by_design(ran), _not_run(all_entries), _table(ran)])


def _findings(ran: Sequence[Entry], note: Note) -> Iterator[tuple[Entry, Finding]]:
    for entry in ran:
        for finding in entry.report.bugs if entry.report else ():
            if note.covers(entry.model_type, finding):
                yield entry, finding


def _section(ran: Sequence[Entry], note: Note, printed: dict[str, str]) -> str:
    found = list(_findings(ran, note))
    models = ", ".join(dict.fromkeys(entry.name for entry, _ in found))
    probes = Counter(finding.probe for _, finding in found)
    said = ", ".join(f"{probe} ({count} cells)" for probe, count in probes.items())
    lines = [f"### {note.title}", "", note.text.strip(), "", f"In: {models}.", "", f"Found by: {said}."]
    if since := next((finding.since for _, finding in found if finding.since), ""):
        lines += ["", f"Since: `{since}`."]
    if note.slug in printed:
        lines += ["", f"[Reproduction](audit-transformers/{note.slug}.py) prints `{printed[note.slug]}`."]
    return "\n".join([*lines, ""])


def _unexplained(ran: Sequence[Entry], known: Sequence[Note]) -> list[str]:
    open_ones = [
        f"| {entry.name} | {finding.probe} | {finding.where} | {finding.cause or finding.what} |"
        for entry in ran
        for finding in (entry.report.bugs if entry.report else ())
        if not any(note.covers(entry.model_type, finding) for note in known)
    ]
    head = ["## Not looked into yet", "", "| entry | probe | cell | cause |", "|---|---|---|---|"]
    return [*head, *open_ones, ""] if open_ones else []


def _by_design(ran: Sequence[Entry]) -> str:
    causes: dict[str, set[str]] = defaultdict(set)
    for entry in ran:
        for finding in entry.report.findings if entry.report else ():
            if finding.verdict is Verdict.BY_DESIGN:
                causes[finding.cause].add(entry.name)
    lines = ["## By design", "", "| what | entries |", "|---|---|"]
    for cause, names in sorted(causes.items(), key=lambda item: -len(item[1])):
        listed = ", ".join(sorted(names)) if len(names) <= 12 else f"{len(names)} entries"
        lines.append(f"| {cause} | {listed} |")
    return "\n".join([*lines, ""])


def _not_run(all_entries: Sequence[Entry]) -> str:
    lines = ["## Did not run", "", "| entry | why |", "|---|---|"]
    lines += [f"| {entry.name} | {_cell(entry.why)} |" for entry in all_entries if entry.report is None]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return re.sub(r"(/[\w.-]+)+/", "", text).replace("|", "/")[:160]


def _table(ran: Sequence[Entry]) -> str:
    names = [probe.NAME for probe in PROBES]
    legend = "`·` ok, **B** bug, `d` by design, `p` no power, `x` could not run, blank: not applicable."
    numbered = "; ".join(f"{number} {name}" for number, name in enumerate(names, 1))
    lines = ["## Every entry", "", legend, "", f"Probes: {numbered}.", ""]
    lines += [
        "| entry | " + " | ".join(str(n) for n in range(1, len(names) + 1)) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for entry in ran:
        verdicts = entry.report.verdicts if entry.report else {}
        cells = [LETTERS[verdicts.get(name, Verdict.NOT_APPLICABLE)] for name in names]
        lines.append(f"| {entry.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def reproduced(script: Path) -> str:
    """What a reproduction prints, run by itself."""
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or done.stderr.splitlines()[-1:]
    return "; ".join(lines)[:200]


def write_scripts(ran: Sequence[Entry], known: Sequence[Note]) -> list[str]:
    """One reproduction a note, that of the first finding which has one; the slugs."""
    SCRIPTS.mkdir(exist_ok=True)
    written: list[str] = []
    for note in known:
        found = [finding for _, finding in _findings(ran, note) if finding.script]
        if found:
            # The probes of a note are in the order of what they show best.
            shown = min(found, key=lambda finding: note.probes.index(finding.probe))
            (SCRIPTS / f"{note.slug}.py").write_text(shown.script + "\n")
            written.append(note.slug)
    return written


def main() -> None:
    """Sweep, reproduce, write."""
    parser = argparse.ArgumentParser(description="Audit every text architecture of transformers.")
    parser.add_argument("--folder", type=Path, default=Path("build/audit"))
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    wanted = entries()
    for _ in track(sweep(arguments.folder, wanted, arguments.processes), total=len(wanted), description="entries"):
        pass
    found = [Entry(*one) for one in read_reports(arguments.folder)]
    ran = [entry for entry in found if entry.report is not None]
    slugs = write_scripts(ran, notes())
    with ThreadPoolExecutor(arguments.processes) as pool:
        printed = dict(zip(slugs, pool.map(reproduced, (SCRIPTS / f"{slug}.py" for slug in slugs)), strict=True))
    PAGE.write_text(page_of(found, notes(), printed))


if __name__ == "__main__":
    main()
